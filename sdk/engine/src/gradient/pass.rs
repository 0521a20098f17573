//! One forward and some backward passes of some sequences side by side, and what every level change would do along the way.
//!
//! Shapes: B sequences of L tokens, T = B·L, D hidden size, K and N widths of a layer, M level changes, S sampled tokens.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use evopress_plugin::{Chunk, SubBlock, Target, TargetView};
use evopress_plugin_tch::with_tensor;
use tch::{Kind, Tensor};

use super::edits::{ATTENTION_LAYERS, Edit, EditKind, Edits, slots};
use super::responses::Responses;
use crate::error::Result;
use crate::evaluator::{Context, SharedFitness};
use crate::genotype::WeightId;
use crate::kernels;
use crate::model::Traced;
use crate::source::LAYERS_PER_BLOCK;

/// What a pass works on.
pub(super) struct Sequence<'a> {
    pub(super) idx: usize,
    pub(super) tokens: &'a [i64],
    pub(super) target: Option<&'a Target>,
    /// In 0..1, `[L − 1, S]`, for each token that has a next one: which tokens are sampled there.
    pub(super) uniforms: &'a [f32],
}

/// Gradients with respect to the stream `[T, D]`: of the loss, then of the loss of each of the S sampled tokens.
type Gradients = Vec<Tensor>;

/// By sequence, all of one length; none where the fitness has no gradient.
pub(super) fn run(
    context: &Context,
    edits: &Edits,
    fitness: &SharedFitness,
    sequences: &[Sequence<'_>],
) -> Result<Option<Vec<Responses>>> {
    let tokens: Vec<&[i64]> = sequences.iter().map(|sequence| sequence.tokens).collect();
    let boundaries = context.boundaries(&tokens, &edits.parent)?;
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
    let size = [edits.num_changes() as i64, num_sequences * length];
    let empty = || Ok(Tensor::f_zeros(size, (Kind::Float, last.device()))?);
    let mut responses = (0..gradients.len())
        .map(|_| empty())
        .collect::<Result<Vec<Tensor>>>()?;
    for (block_idx, stream) in boundaries[..boundaries.len() - 1].iter().enumerate().rev() {
        let block = Block {
            context,
            edits,
            block_idx,
            length,
            kind: kernels::product_kind(context.model.kind(), context.model.device()),
        };
        gradients = block.backward(stream, &gradients, &mut responses)?;
    }
    let of_sequence = |(idx, sequence): (usize, &Sequence<'_>)| {
        // The last token has nothing after it, so its row is 0 and does not count.
        let part = |all: &Tensor| Ok(all.f_narrow(1, idx as i64 * length, length - 1)?);
        let parts = responses.iter().map(part).collect::<Result<Vec<_>>>()?;
        Responses::new(edits, &parts, sequence.idx)
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
        let of_sampled = expected.f_sub(&context.head.token_rows(&tokens)?)?;
        gradients.push(through_norm(&of_sampled, sample + 1 < num_samples)?);
    }
    Ok(Some(gradients))
}

/// One block on its way back.
struct Block<'a> {
    context: &'a Context,
    edits: &'a Edits,
    block_idx: usize,
    /// Tokens of a sequence.
    length: i64,
    kind: Kind,
}

impl Block<'_> {
    /// Adds what the block's level changes do to `responses`; returns the gradients with respect to the stream before the block.
    fn backward(
        &self,
        stream: &Tensor,
        gradients: &[Tensor],
        responses: &mut [Tensor],
    ) -> Result<Gradients> {
        let before = stream.f_detach()?.f_set_requires_grad(true)?;
        let attention = self.traced(SubBlock::Attention, &before, None)?;
        let middle = match &attention {
            Some(traced) => tch::with_grad(|| before.f_add(&traced.added))?,
            None => before.shallow_clone(),
        };
        let mlp = self.traced(SubBlock::Mlp, &middle, None)?;
        let after = match &mlp {
            Some(traced) => tch::with_grad(|| middle.f_add(&traced.added))?,
            None => middle.shallow_clone(),
        };
        let mut by_order = Vec::with_capacity(gradients.len());
        for (idx, gradient) in gradients.iter().enumerate() {
            let outputs = |traced: &Option<Traced>| -> Vec<Tensor> {
                let outputs = traced.iter().flat_map(|traced| &traced.outputs);
                outputs.map(Tensor::shallow_clone).collect()
            };
            let (of_attention, of_mlp) = (outputs(&attention), outputs(&mlp));
            let mut inputs = vec![before.shallow_clone(), middle.shallow_clone()];
            let num_attention = of_attention.len();
            inputs.extend(of_attention.into_iter().chain(of_mlp));
            let mut found = match attention.is_none() && mlp.is_none() {
                true => vec![gradient.shallow_clone(), gradient.shallow_clone()],
                false => {
                    let inner = tch::with_grad(|| after.f_mul(gradient)?.f_sum(Kind::Float))?;
                    let keep = idx + 1 < gradients.len();
                    Tensor::f_run_backward(&[inner], &inputs, keep, false)?
                }
            };
            let mut layers = found.split_off(2);
            let of_mlp = layers.split_off(num_attention);
            let before = found.swap_remove(0);
            let middle = found.swap_remove(0);
            by_order.push(Order {
                after: gradient.shallow_clone(),
                before,
                of_attention: layers,
                of_mlp,
                middle,
            });
        }
        for (traced, sub_block, input) in [
            (attention, SubBlock::Attention, &before),
            (mlp, SubBlock::Mlp, &middle),
        ] {
            let place = Place {
                sub_block,
                input: input.f_detach()?,
                traced,
            };
            self.respond(&place, &by_order, responses)?;
        }
        Ok(by_order.into_iter().map(|order| order.before).collect())
    }

    /// A sub-block as the parent runs it, or with other weights; none where the parent leaves it out.
    fn traced(
        &self,
        sub_block: SubBlock,
        stream: &Tensor,
        weights: Option<&[Option<WeightId>]>,
    ) -> Result<Option<Traced>> {
        let model = &self.context.model;
        let parent = &self.edits.parent;
        if weights.is_none() && parent.dropped.contains(self.block_idx, sub_block) {
            return Ok(None);
        }
        let first = self.block_idx * LAYERS_PER_BLOCK;
        let weights = weights.unwrap_or(&parent.weights[first..first + LAYERS_PER_BLOCK]);
        let weights: Vec<Tensor> = slots(sub_block)
            .map(|slot| model.plain_weight(first + slot, weights[slot], self.kind))
            .collect::<Result<_>>()?;
        tch::with_grad(|| match sub_block {
            SubBlock::Attention => {
                model.traced_attention(self.block_idx, stream, self.length, &weights)
            }
            SubBlock::Mlp => model.traced_mlp(self.block_idx, stream, &weights),
        })
        .map(Some)
    }

    /// What the level changes of a sub-block do.
    fn respond(&self, place: &Place, orders: &[Order], responses: &mut [Tensor]) -> Result<()> {
        let edits = &self.edits.blocks[self.block_idx];
        let mut given: Option<Tensor> = None;
        // The parent's weights, which all changes of a layer are held against.
        let mut parents: HashMap<usize, Tensor> = HashMap::new();
        for edit in edits {
            match &edit.kind {
                EditKind::Drop(sub_block) if *sub_block == place.sub_block => {
                    let traced = place.traced.as_ref().expect("what is dropped has run");
                    let change = traced.added.f_detach()?.f_neg()?;
                    add(edit, &change, orders, responses, |order| {
                        order.stream(place.sub_block)
                    })?;
                }
                EditKind::Restore(sub_block, weights) if *sub_block == place.sub_block => {
                    let change = match &given {
                        Some(change) => change.shallow_clone(),
                        None => {
                            let traced = self.traced(*sub_block, &place.input, Some(weights))?;
                            let traced = traced.expect("weights were given");
                            traced.added.f_detach()?
                        }
                    };
                    // Several levels may give the same back only where nothing but the drop is at stake.
                    if weights.iter().all(Option::is_none) {
                        given = Some(change.shallow_clone());
                    }
                    add(edit, &change, orders, responses, |order| {
                        order.stream(place.sub_block)
                    })?;
                }
                EditKind::Layer { slot, level } if slots(place.sub_block).contains(slot) => {
                    let traced = place.traced.as_ref().expect("a changed layer has run");
                    let before = match parents.entry(*slot) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => new.insert(self.parent_weight(*slot)?),
                    };
                    let change = self.change(*slot, before, *level, traced)?;
                    add(edit, &change, orders, responses, |order| order.layer(*slot))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A layer's weight in f32 as the parent has it.
    fn parent_weight(&self, slot: usize) -> Result<Tensor> {
        let layer_idx = self.block_idx * LAYERS_PER_BLOCK + slot;
        let now = self.edits.parent.weights[layer_idx];
        self.context.model.plain_weight(layer_idx, now, Kind::Float)
    }

    /// `δ = h ΔWᵀ [T, N]` of a layer whose weight is `before`.
    fn change(
        &self,
        slot: usize,
        before: &Tensor,
        level: Option<WeightId>,
        traced: &Traced,
    ) -> Result<Tensor> {
        let layer_idx = self.block_idx * LAYERS_PER_BLOCK + slot;
        let after = self
            .context
            .model
            .plain_weight(layer_idx, level, Kind::Float)?;
        let change = after.f_sub(before)?.f_to_kind(self.kind)?;
        let first = match slot < ATTENTION_LAYERS {
            true => 0,
            false => ATTENTION_LAYERS,
        };
        let input = traced.inputs[slot - first].f_detach()?;
        Ok(input.f_linear(&change, None::<&Tensor>)?)
    }
}

/// A sub-block and the stream before it.
struct Place {
    sub_block: SubBlock,
    input: Tensor,
    traced: Option<Traced>,
}

/// One gradient at all places of a block.
struct Order {
    before: Tensor,
    middle: Tensor,
    after: Tensor,
    /// With respect to the outputs of q, k and v; none where the attention is left out.
    of_attention: Vec<Tensor>,
    /// With respect to the outputs of gate and up.
    of_mlp: Vec<Tensor>,
}

impl Order {
    /// With respect to the stream after a sub-block.
    fn stream(&self, sub_block: SubBlock) -> &Tensor {
        match sub_block {
            SubBlock::Attention => &self.middle,
            SubBlock::Mlp => &self.after,
        }
    }

    /// With respect to a layer's output.
    fn layer(&self, slot: usize) -> &Tensor {
        match slot {
            0..3 => &self.of_attention[slot],
            3 => &self.middle,
            4 | 5 => &self.of_mlp[slot - ATTENTION_LAYERS],
            _ => &self.after,
        }
    }
}

/// `r_m[t] += ⟨g_t, δ_t⟩` for each gradient.
fn add<'a>(
    edit: &Edit,
    change: &Tensor,
    orders: &'a [Order],
    responses: &mut [Tensor],
    at: impl Fn(&'a Order) -> &'a Tensor,
) -> Result<()> {
    for (order, response) in orders.iter().zip(responses) {
        let product = change.f_mul(at(order))?;
        let product = product.f_sum_dim_intlist(-1i64, false, Kind::Float)?;
        let mut row = response.f_select(0, edit.change_idx as i64)?;
        let _ = row.f_add_(&product)?;
    }
    Ok(())
}
