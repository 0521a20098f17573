//! One forward and some backward passes of some sequences side by side, and what every level change
//! would do along the way.
//!
//! Shapes: B sequences of L tokens, T = B·L, D hidden size, M level changes, S sampled tokens.

use evopress_model::Context;
use evopress_plugin::{Chunk, Target, TargetView};
use evopress_plugin_tch::with_tensor;
use evopress_tensor::product_kind;
use tch::{Kind, Tensor};

use super::block::{Block, Gradients};
use super::changes::Changes;
use super::responses::SequenceResponses;
use crate::error::Result;
use crate::shared_fitness::SharedFitness;

/// What a pass works on.
pub(super) struct Sequence<'a> {
    pub(super) idx: usize,
    pub(super) tokens: &'a [i64],
    pub(super) target: Option<&'a Target>,
    /// In 0..1, `[L − 1, S]`, for each token that has a next one: which tokens are sampled there.
    pub(super) uniforms: &'a [f32],
}

/// By sequence, all of one length; none where the fitness has no gradient.
pub(super) fn run(
    context: &Context,
    changes: &Changes,
    fitness: &SharedFitness,
    sequences: &[Sequence<'_>],
) -> Result<Option<Vec<SequenceResponses>>> {
    let tokens: Vec<&[i64]> = sequences.iter().map(|sequence| sequence.tokens).collect();
    let boundaries = context.boundaries(&tokens, &changes.parent)?;
    let last = boundaries.last().expect("a stream has a beginning");
    let (num_sequences, length) = (sequences.len() as i64, tokens[0].len() as i64);
    let mut of_head: Vec<Gradients> = Vec::with_capacity(sequences.len());
    for (idx, sequence) in sequences.iter().enumerate() {
        let stream = last.f_narrow(0, idx as i64 * length, length)?;
        let Some(gradients) = head_gradients(context, fitness, sequence, &stream)? else {
            return Ok(None);
        };
        of_head.push(gradients);
    }
    let side_by_side = |order: usize| -> Result<Tensor> {
        let of_order: Vec<&Tensor> = of_head.iter().map(|all| &all[order]).collect();
        Ok(Tensor::f_cat(&of_order, 0)?)
    };
    let mut gradients = (0..of_head[0].len())
        .map(side_by_side)
        .collect::<Result<Gradients>>()?;
    drop(of_head);
    let size = [changes.len() as i64, num_sequences * length];
    let empty = || Ok(Tensor::f_zeros(size, (Kind::Float, last.device()))?);
    let mut responses = (0..gradients.len())
        .map(|_| empty())
        .collect::<Result<Vec<Tensor>>>()?;
    for (block_idx, stream) in boundaries[..boundaries.len() - 1].iter().enumerate().rev() {
        let block = Block {
            context,
            changes,
            block_idx,
            length,
            kind: product_kind(context.model.kind(), context.model.device()),
        };
        gradients = block.backward(stream, &gradients, &mut responses)?;
    }
    let of_sequence = |(idx, sequence): (usize, &Sequence<'_>)| {
        // The last token has nothing after it, so its row is 0 and does not count.
        let part = |all: &Tensor| Ok(all.f_narrow(1, idx as i64 * length, length - 1)?);
        let parts = responses.iter().map(part).collect::<Result<Vec<_>>>()?;
        SequenceResponses::new(changes, &parts, sequence.idx)
    };
    let all = sequences.iter().enumerate().map(of_sequence);
    all.collect::<Result<_>>().map(Some)
}

/// Gradients with respect to a sequence's stream before the final norm.
fn head_gradients(
    context: &Context,
    fitness: &SharedFitness,
    sequence: &Sequence<'_>,
    stream: &Tensor,
) -> Result<Option<Gradients>> {
    let counted = sequence.tokens.len() as i64 - 1;
    let leaf = stream
        .f_narrow(0, 0, counted)?
        .f_detach()?
        .f_set_requires_grad(true)?;
    let normed = tch::with_grad(|| context.model.traced_finish(&leaf))?;
    let hidden = normed.f_detach()?.f_to_kind(context.model.kind())?;
    let (expected, sampled) = context
        .head
        .sampled_expectation(&hidden, sequence.uniforms)?;
    let chunk = Chunk {
        hidden: evopress_plugin_tch::view(&hidden)?,
        next_tokens: &sequence.tokens[1..],
    };
    let target = sequence
        .target
        .map_or_else(TargetView::default, Target::view);
    let view = evopress_plugin_tch::view(&expected)?;
    let Some(of_loss) = fitness.gradient(&context.head, &chunk, &target, &view)? else {
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
