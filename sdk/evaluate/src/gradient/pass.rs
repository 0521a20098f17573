//! One forward and some backward passes of some sequences side by side, and what every level change
//! would do along the way.
//!
//! Shapes: B sequences of L tokens, T = B·L, D hidden size, M level changes, S sampled tokens.

use std::sync::{Arc, OnceLock};

use evopress_model::{Context, Engine, Stream, Walk};
use evopress_plugin::{Chunk, Target, TargetView};
use evopress_plugin_tch::with_tensor;
use evopress_search::genotype::Candidate;
use evopress_source::Corpus;
use evopress_tensor::product_kind;
use tch::{Kind, Tensor};

use super::block::{Block, Gradients};
use super::changes::Changes;
use super::responses::SequenceResponses;
use crate::error::{EvaluateError, Result};
use crate::passes::stream_bytes;
use crate::shared_fitness::SharedFitness;

/// A sequence by its index, and for each token that has a next one numbers in 0..1, `[L − 1, S]`:
/// which tokens are sampled there.
pub(super) type Sampled = (usize, Vec<f32>);

/// Passes there and back of sequences side by side.
pub(super) struct Passes {
    pub(super) changes: Arc<Changes>,
    /// The parent of the changes.
    pub(super) parent: [Arc<Candidate>; 1],
    pub(super) fitness: SharedFitness,
    pub(super) corpus: Arc<Corpus>,
    pub(super) targets: Arc<Vec<OnceLock<Target>>>,
}

/// Sequences between two blocks.
pub(super) struct Passing {
    sequences: Vec<Sampled>,
    stream: Stream,
    /// The streams before the blocks that have been passed.
    before: Vec<Tensor>,
    turned: Option<Turned>,
}

/// Beyond the last block.
enum Turned {
    /// The fitness has no gradient.
    Stopped,
    /// On the way back.
    Returning {
        gradients: Gradients,
        /// `[M, T]`, of each gradient.
        responses: Vec<Tensor>,
    },
}

impl Passes {
    /// Memory of `num_sequences` of them between two blocks.
    pub(super) fn state_bytes(&self, engine: &Engine, num_sequences: usize) -> u64 {
        let tokens = num_sequences * self.corpus.sequence_length();
        let orders = 1 + self.changes.num_samples as u64;
        let streams = engine.spec().num_blocks() as u64 + 1 + orders;
        let responses = orders * (4 * self.changes.len() * tokens) as u64;
        streams * stream_bytes(engine, tokens) + responses
    }

    /// Gradients behind the last block, and no responses yet.
    fn turn(&self, context: &Context, state: &Passing) -> Result<Turned> {
        let last = state.stream.residual();
        let length = self.corpus.sequence_length() as i64;
        let num_sequences = state.sequences.len() as i64;
        let mut of_head: Vec<Gradients> = Vec::with_capacity(state.sequences.len());
        for (place, sequence) in (0..num_sequences).zip(&state.sequences) {
            let stream = last.f_narrow(0, place * length, length)?;
            match self.head_gradients(context, sequence, &stream)? {
                Some(gradients) => of_head.push(gradients),
                None => return Ok(Turned::Stopped),
            }
        }
        let side_by_side = |order: usize| -> Result<Tensor> {
            let of_order: Vec<&Tensor> = of_head.iter().map(|all| &all[order]).collect();
            Ok(Tensor::f_cat(&of_order, 0)?)
        };
        let gradients = (0..of_head[0].len()).map(side_by_side);
        let gradients = gradients.collect::<Result<Gradients>>()?;
        let size = [self.changes.len() as i64, num_sequences * length];
        let empty = |_: &Tensor| Ok(Tensor::f_zeros(size, (Kind::Float, last.device()))?);
        let responses = gradients.iter().map(empty).collect::<Result<_>>()?;
        Ok(Turned::Returning {
            gradients,
            responses,
        })
    }
}

impl Walk for Passes {
    type Item = Vec<Sampled>;
    type State = Passing;
    /// By sequence; none where the fitness has no gradient.
    type Output = Option<Vec<SequenceResponses>>;
    type Error = EvaluateError;

    const RETURNS: bool = true;

    fn begin(&self, context: &mut Context, sequences: Vec<Sampled>) -> Result<Passing> {
        let tokens = sequences.iter().map(|(idx, _)| self.corpus.sequence(*idx));
        let stream = context.embed(&tokens.collect::<Vec<_>>())?;
        Ok(Passing {
            sequences,
            stream,
            before: Vec::new(),
            turned: None,
        })
    }

    fn candidates<'a>(&'a self, _: &'a Passing, _: usize) -> &'a [Arc<Candidate>] {
        &self.parent
    }

    fn run_block(
        &self,
        context: &mut Context,
        state: &mut Passing,
        block_idx: usize,
    ) -> Result<()> {
        state.before.push(state.stream.snapshot()?);
        let model = &context.model;
        Ok(model.run_block(block_idx, &mut state.stream, &[self.parent[0].as_ref()])?)
    }

    fn return_through(
        &self,
        context: &mut Context,
        state: &mut Passing,
        block_idx: usize,
    ) -> Result<()> {
        let turned = match state.turned.take() {
            Some(turned) => turned,
            None => self.turn(context, state)?,
        };
        let before = state
            .before
            .pop()
            .expect("each block that is passed is returned through");
        let turned = match turned {
            Turned::Stopped => Turned::Stopped,
            Turned::Returning {
                gradients,
                mut responses,
            } => {
                let block = Block {
                    context,
                    changes: &self.changes,
                    block_idx,
                    length: self.corpus.sequence_length() as i64,
                    kind: product_kind(context.model.kind(), context.model.device()),
                };
                Turned::Returning {
                    gradients: block.backward(&before, &gradients, &mut responses)?,
                    responses,
                }
            }
        };
        state.turned = Some(turned);
        Ok(())
    }

    fn finish(&self, _: &mut Context, state: Passing) -> Result<Self::Output> {
        let Some(Turned::Returning { responses, .. }) = state.turned else {
            return Ok(None);
        };
        let length = self.corpus.sequence_length() as i64;
        let of_sequence = |(place, (idx, _)): (i64, Sampled)| {
            // The last token has nothing after it, so its row is 0 and does not count.
            let part = |all: &Tensor| Ok(all.f_narrow(1, place * length, length - 1)?);
            let parts = responses.iter().map(part).collect::<Result<Vec<_>>>()?;
            SequenceResponses::new(&self.changes, &parts, idx)
        };
        let all = (0..).zip(state.sequences).map(of_sequence);
        all.collect::<Result<_>>().map(Some)
    }
}

impl Passes {
    /// Gradients with respect to a sequence's stream before the final norm.
    fn head_gradients(
        &self,
        context: &Context,
        (sequence_idx, uniforms): &Sampled,
        stream: &Tensor,
    ) -> Result<Option<Gradients>> {
        let tokens = self.corpus.sequence(*sequence_idx);
        let counted = tokens.len() as i64 - 1;
        let leaf = stream
            .f_narrow(0, 0, counted)?
            .f_detach()?
            .f_set_requires_grad(true)?;
        let normed = tch::with_grad(|| context.model.traced_finish(&leaf))?;
        let hidden = normed.f_detach()?.f_to_kind(context.model.kind())?;
        let (expected, sampled) = context.head.sampled_expectation(&hidden, uniforms)?;
        let chunk = Chunk {
            hidden: evopress_plugin_tch::view(&hidden)?,
            next_tokens: &tokens[1..],
        };
        let target = self.targets[*sequence_idx].get();
        let target = target.map_or_else(TargetView::default, Target::view);
        let view = evopress_plugin_tch::view(&expected)?;
        let Some(of_loss) = self
            .fitness
            .gradient(&context.head, &chunk, &target, &view)?
        else {
            return Ok(None);
        };
        let num_samples = sampled.len() / counted as usize;
        let through_norm = |gradient: &Tensor, keep: bool| -> Result<Tensor> {
            let inner = tch::with_grad(|| normed.f_mul(gradient)?.f_sum(Kind::Float))?;
            let gradient = Tensor::f_run_backward(&[inner], &[&leaf], keep, false)?.swap_remove(0);
            // A row of zeros for the token that predicts nothing.
            Ok(gradient.f_constant_pad_nd([0, 0, 0, 1])?)
        };
        let of_loss = with_tensor(&of_loss.view(), |of_loss| through_norm(of_loss, true))??;
        let mut gradients = vec![of_loss];
        for sample in 0..num_samples {
            let tokens = sampled.iter().skip(sample).step_by(num_samples);
            let tokens: Vec<i64> = tokens.copied().collect();
            let of_sampled = expected.f_sub(&context.head.token_gradients(&hidden, &tokens)?)?;
            gradients.push(through_norm(&of_sampled, sample + 1 < num_samples)?);
        }
        Ok(Some(gradients))
    }
}
