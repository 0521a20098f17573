//! What an MLP adds when its router loses or regains an expert.
//!
//! Where the probabilities of a token's experts are scaled to a sum of 1, only tokens that go to
//! the expert change: another one comes in. The MLP runs once more for these tokens alone, which
//! are `k / E` of all, so that the changes of all experts of a block cost `k` times the MLP. Where
//! they are not scaled, the expert's probability is spread over the others for every token.

use std::collections::HashMap;

use evopress_model::TracedLayer;
use evopress_plugin::SubBlock;
use evopress_search::genotype::WeightId;
use tch::{Kind, Tensor};

use super::block::{Block, Place};
use crate::error::Result;

/// Tokens whose experts change.
pub(super) struct Rerouted {
    /// Rows of the stream, `[n]` in int64.
    pub(super) rows: Tensor,
    /// What the MLP adds for them more than before, `[n, D]` in f32.
    pub(super) difference: Tensor,
}

impl Block<'_> {
    /// What changes when an expert that runs is left out; none where no token goes to it. `layers`
    /// are those that have run, by slot.
    pub(super) fn without_expert(
        &self,
        place: &Place,
        layers: &HashMap<usize, &TracedLayer>,
        expert: u32,
    ) -> Result<Option<Rerouted>> {
        let of_expert = self.slots_of_expert(expert);
        let layer = of_expert.first().and_then(|slot| layers.get(slot));
        let rows = match layer.and_then(|layer| layer.rows.as_ref()) {
            _ if self.changes_all_tokens() => self.all_rows(place)?,
            Some(rows) => rows.shallow_clone(),
            None => return Ok(None),
        };
        let mut left_out = self.changes.parent.dropped.experts[self.block_idx].clone();
        left_out.push(expert);
        self.rerouted(place, rows, &left_out, |slot| self.parent_level(slot))
    }

    /// What changes when an expert runs that was left out; `weights` are those of its layers in the
    /// order of their slots. None where no token would go to it.
    pub(super) fn with_expert(
        &self,
        place: &Place,
        expert: u32,
        left_out: &[u32],
        weights: &[Option<WeightId>],
    ) -> Result<Option<Rerouted>> {
        let (model, block_idx) = (&self.context.model, self.block_idx);
        let rows = match self.changes_all_tokens() {
            true => self.all_rows(place)?,
            false => model.rows_of_expert(block_idx, &place.input, self.kind, left_out, expert)?,
        };
        let of_expert = self.slots_of_expert(expert);
        let weight = |slot: usize| match of_expert.iter().position(|&it| it == slot) {
            Some(at) => weights[at],
            None => self.parent_level(slot),
        };
        self.rerouted(place, rows, left_out, weight)
    }

    fn changes_all_tokens(&self) -> bool {
        let experts = self.spec().experts();
        experts.is_some_and(|experts| !experts.is_renormalized)
    }

    fn all_rows(&self, place: &Place) -> Result<Tensor> {
        let stream = &place.input;
        Ok(Tensor::f_arange(
            stream.size()[0],
            (Kind::Int64, stream.device()),
        )?)
    }

    fn slots_of_expert(&self, expert: u32) -> Vec<usize> {
        let spec = self.spec();
        let slots = spec.slots_of(SubBlock::Mlp);
        slots
            .filter(|&slot| spec.layers[slot].expert == Some(expert))
            .collect()
    }

    fn rerouted(
        &self,
        place: &Place,
        rows: Tensor,
        left_out: &[u32],
        weight: impl Fn(usize) -> Option<WeightId>,
    ) -> Result<Option<Rerouted>> {
        let Some(before) = place.traced.as_ref().filter(|_| rows.numel() > 0) else {
            return Ok(None);
        };
        let stream = place.input.f_index_select(0, &rows)?;
        let after = self.traced_with(SubBlock::Mlp, &stream, left_out, weight)?;
        let before = before.added.f_detach()?.f_index_select(0, &rows)?;
        let difference = after.added.f_detach()?.f_sub(&before)?;
        Ok(Some(Rerouted { rows, difference }))
    }
}
