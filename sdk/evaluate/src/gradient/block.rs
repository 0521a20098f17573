//! One block on the way back: gradients through it, and what level changes do in it.
//!
//! Shapes: T tokens, n tokens of one expert, D hidden size, N outputs of a layer.

use std::collections::HashMap;

use evopress_model::{Context, Traced, TracedLayer};
use evopress_plugin::{BlockPart, SubBlock};
use evopress_search::genotype::{BlockEdit, WeightId};
use evopress_source::spec::BlockSpec;
use tch::{Kind, Tensor};

use super::changes::Changes;
use crate::error::Result;

/// Gradients with respect to the stream `[T, D]`: of the loss, then of the loss of each of the S
/// sampled tokens.
pub(super) type Gradients = Vec<Tensor>;

/// One block on its way back.
pub(super) struct Block<'a> {
    pub(super) context: &'a Context,
    pub(super) changes: &'a Changes,
    pub(super) block_idx: usize,
    /// Tokens of a sequence.
    pub(super) length: i64,
    /// Dtype of products.
    pub(super) kind: Kind,
}

impl Block<'_> {
    /// Adds what the block's level changes do to `responses`; returns the gradients with respect to
    /// the stream before the block.
    pub(super) fn backward(
        &self,
        stream: &Tensor,
        gradients: &[Tensor],
        responses: &mut [Tensor],
    ) -> Result<Gradients> {
        let before = stream.f_detach()?.f_set_requires_grad(true)?;
        let attention = self.traced(SubBlock::Attention, &before)?;
        let middle = match &attention {
            Some(traced) => tch::with_grad(|| before.f_add(&traced.added))?,
            None => before.shallow_clone(),
        };
        let mlp = self.traced(SubBlock::Mlp, &middle)?;
        let after = match &mlp {
            Some(traced) => tch::with_grad(|| middle.f_add(&traced.added))?,
            None => middle.shallow_clone(),
        };
        let with_output: Vec<(usize, &Tensor)> = [&attention, &mlp]
            .into_iter()
            .flatten()
            .flat_map(|traced| &traced.layers)
            .filter_map(|layer| Some((layer.slot, layer.output.as_ref()?)))
            .collect();
        let mut by_order = Vec::with_capacity(gradients.len());
        for (idx, gradient) in gradients.iter().enumerate() {
            let mut inputs = vec![before.shallow_clone(), middle.shallow_clone()];
            inputs.extend(with_output.iter().map(|(_, output)| output.shallow_clone()));
            let mut found = match attention.is_none() && mlp.is_none() {
                true => vec![gradient.shallow_clone(), gradient.shallow_clone()],
                false => {
                    let inner = tch::with_grad(|| after.f_mul(gradient)?.f_sum(Kind::Float))?;
                    let keep = idx + 1 < gradients.len();
                    Tensor::f_run_backward(&[inner], &inputs, keep, false)?
                }
            };
            let of_layers = found.split_off(2);
            let middle = found.swap_remove(1);
            let before = found.swap_remove(0);
            let slots = with_output.iter().map(|&(slot, _)| slot);
            by_order.push(Order {
                after: gradient.shallow_clone(),
                before,
                of_layers: slots.zip(of_layers).collect(),
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

    /// What the block computes.
    pub(super) fn spec(&self) -> &BlockSpec {
        &self.context.model.spec().blocks[self.block_idx]
    }

    fn first_layer(&self) -> usize {
        self.context.model.spec().first_layer(self.block_idx)
    }

    /// A sub-block as the parent runs it; none where the parent leaves it out or the block has
    /// none.
    fn traced(&self, sub_block: SubBlock, stream: &Tensor) -> Result<Option<Traced>> {
        let parent = &self.changes.parent;
        let is_left_out = parent.dropped.contains(self.block_idx, sub_block);
        if is_left_out || !self.spec().has(sub_block) {
            return Ok(None);
        }
        let left_out = &parent.dropped.experts[self.block_idx];
        self.traced_with(sub_block, stream, left_out, |slot| self.parent_level(slot))
            .map(Some)
    }

    /// The weight of a slot as the parent has it; none: the dense one.
    pub(super) fn parent_level(&self, slot: usize) -> Option<WeightId> {
        self.changes.parent.weights[self.first_layer() + slot]
    }

    /// A sub-block with the weight of each slot, without the experts that are `left_out`.
    pub(super) fn traced_with(
        &self,
        sub_block: SubBlock,
        stream: &Tensor,
        left_out: &[u32],
        weight: impl Fn(usize) -> Option<WeightId>,
    ) -> Result<Traced> {
        let (model, first_layer) = (&self.context.model, self.first_layer());
        let (length, kind) = (self.length, self.kind);
        let weight = |slot: usize| model.plain_weight(first_layer + slot, weight(slot), kind);
        let traced = tch::with_grad(|| match sub_block {
            SubBlock::Attention => {
                model.traced_attention(self.block_idx, stream, length, kind, &weight)
            }
            SubBlock::Mlp => model.traced_mlp(self.block_idx, stream, kind, left_out, &weight),
        });
        Ok(traced?)
    }

    /// What the level changes do in a sub-block.
    fn respond(&self, place: &Place, orders: &[Order], responses: &mut [Tensor]) -> Result<()> {
        let mut restored: Option<Tensor> = None;
        // The parent's weight of a layer, which all changes of the layer are held against.
        let mut parent: Option<(usize, Tensor)> = None;
        let layers = place.layers();
        for (change_idx, edit) in &self.changes.blocks[self.block_idx] {
            let mut add_to_stream = |difference: &Tensor, rows: Option<&Tensor>| {
                let stream = |order: &Order| {
                    let of_all = order.stream(place.sub_block);
                    Ok(match rows {
                        Some(rows) => of_all.f_index_select(0, rows)?,
                        None => of_all.shallow_clone(),
                    })
                };
                add(*change_idx, (difference, rows), orders, responses, stream)
            };
            match edit {
                BlockEdit::Drop {
                    part: BlockPart::Expert { expert_idx },
                    ..
                } if place.sub_block == SubBlock::Mlp => {
                    if let Some(found) = self.without_expert(place, &layers, *expert_idx)? {
                        add_to_stream(&found.difference, Some(&found.rows))?;
                    }
                }
                BlockEdit::Restore {
                    part: BlockPart::Expert { expert_idx },
                    weights,
                    dropped_experts,
                    ..
                } if place.sub_block == SubBlock::Mlp => {
                    let found = self.with_expert(place, *expert_idx, dropped_experts, weights)?;
                    if let Some(found) = found {
                        add_to_stream(&found.difference, Some(&found.rows))?;
                    }
                }
                BlockEdit::Drop { part, .. } if *part == place.sub_block.into() => {
                    let traced = place.traced.as_ref().expect("what is left out has run");
                    add_to_stream(&traced.added.f_detach()?.f_neg()?, None)?;
                }
                BlockEdit::Restore {
                    part,
                    weights,
                    dropped_experts,
                    ..
                } if *part == place.sub_block.into() => {
                    let difference = match &restored {
                        Some(difference) => difference.shallow_clone(),
                        None => self.restored(place, weights, dropped_experts)?,
                    };
                    // Several levels may restore alike only where nothing but the drop is at stake.
                    if weights.iter().all(Option::is_none) && dropped_experts.is_empty() {
                        restored = Some(difference.shallow_clone());
                    }
                    add_to_stream(&difference, None)?;
                }
                BlockEdit::Replace { layer_idx, weight } => {
                    let slot = layer_idx - self.first_layer();
                    // Of the other sub-block, or of an expert that no token goes to.
                    let Some(layer) = layers.get(&slot) else {
                        continue;
                    };
                    let before = match parent.take() {
                        Some((of_slot, weight)) if of_slot == slot => weight,
                        _ => self.parent_weight(*layer_idx)?,
                    };
                    let difference = self.difference(&layer.input, *layer_idx, &before, *weight)?;
                    parent = Some((slot, before));
                    let at = (&difference, layer.rows.as_ref());
                    add(*change_idx, at, orders, responses, |order| {
                        Ok(order.layer(place.sub_block, slot).shallow_clone())
                    })?;
                }
                BlockEdit::Drop { .. } | BlockEdit::Restore { .. } => {}
            }
        }
        Ok(())
    }

    /// What a sub-block adds that the parent leaves out; `weights` are those of its layers in the
    /// order of their slots.
    fn restored(
        &self,
        place: &Place,
        weights: &[Option<WeightId>],
        left_out: &[u32],
    ) -> Result<Tensor> {
        let in_order: Vec<usize> = self.spec().slots_of(place.sub_block).collect();
        let weight = |slot: usize| {
            let at = in_order.iter().position(|&it| it == slot);
            at.and_then(|at| weights[at])
        };
        let traced = self.traced_with(place.sub_block, &place.input, left_out, weight)?;
        Ok(traced.added.f_detach()?)
    }

    /// A layer's weight in f32 as the parent has it.
    fn parent_weight(&self, layer_idx: usize) -> Result<Tensor> {
        let level = self.changes.parent.weights[layer_idx];
        let weight = self
            .context
            .model
            .plain_weight(layer_idx, level, Kind::Float);
        Ok(weight?)
    }

    /// `δ = h ΔWᵀ [T, N]` of a layer that reads `input` and whose weight is `before`.
    fn difference(
        &self,
        input: &Tensor,
        layer_idx: usize,
        before: &Tensor,
        level: Option<WeightId>,
    ) -> Result<Tensor> {
        let model = &self.context.model;
        let after = model.plain_weight(layer_idx, level, Kind::Float)?;
        let change = after.f_sub(before)?.f_to_kind(self.kind)?;
        Ok(input.f_detach()?.f_linear(&change, None::<&Tensor>)?)
    }
}

/// A sub-block and the stream before it.
pub(super) struct Place {
    sub_block: SubBlock,
    pub(super) input: Tensor,
    pub(super) traced: Option<Traced>,
}

impl Place {
    /// By slot: the layers that have run here.
    fn layers(&self) -> HashMap<usize, &TracedLayer> {
        let layers = self.traced.iter().flat_map(|traced| &traced.layers);
        layers.map(|layer| (layer.slot, layer)).collect()
    }
}

/// One gradient at all places of a block.
struct Order {
    before: Tensor,
    middle: Tensor,
    after: Tensor,
    /// By slot, with respect to the outputs of layers.
    of_layers: HashMap<usize, Tensor>,
}

impl Order {
    /// With respect to the stream after a sub-block.
    fn stream(&self, sub_block: SubBlock) -> &Tensor {
        match sub_block {
            SubBlock::Attention => &self.middle,
            SubBlock::Mlp => &self.after,
        }
    }

    /// With respect to the output of a sub-block's layer. Where it has none of its own, it is added
    /// to the stream.
    fn layer(&self, sub_block: SubBlock, slot: usize) -> &Tensor {
        let of_layer = self.of_layers.get(&slot);
        of_layer.unwrap_or_else(|| self.stream(sub_block))
    }
}

/// `r_m[t] += ⟨g_t, δ_t⟩` for each gradient; `difference` is of all rows, or of those given.
fn add(
    change_idx: usize,
    (difference, rows): (&Tensor, Option<&Tensor>),
    orders: &[Order],
    responses: &mut [Tensor],
    at: impl Fn(&Order) -> Result<Tensor>,
) -> Result<()> {
    for (order, response) in orders.iter().zip(responses) {
        let product = difference.f_mul(&at(order)?)?;
        let product = product.f_sum_dim_intlist(-1i64, false, Kind::Float)?;
        let mut response = response.f_select(0, change_idx as i64)?;
        let _ = match rows {
            Some(rows) => response.f_index_add_(0, rows, &product)?,
            None => response.f_add_(&product)?,
        };
    }
    Ok(())
}
