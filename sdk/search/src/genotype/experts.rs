//! How many experts of a block may be dropped: so many that each token still finds as many as its
//! router sends it to.

use evopress_plugin::BlockPart;

use super::candidate::Genotype;
use super::space::{ResolvedEdit, SearchSpace};
use crate::error::{Result, SearchError};

/// How many experts of a block there are, and how many of them a token needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockExperts {
    /// Experts of the block; 0 where its MLP is dense.
    pub num_experts: usize,
    /// Experts that the router sends each token to.
    pub num_active: usize,
}

/// By block: how many experts are dropped.
pub(crate) struct DroppedExperts(Vec<usize>);

impl SearchSpace {
    /// Takes the genotypes that leave a block fewer experts than a token needs out of the space.
    /// `blocks` says what each block of the model has.
    ///
    /// # Errors
    /// A budget that nothing else meets: a sentence with the block.
    pub fn with_active_experts(mut self, blocks: &[BlockExperts]) -> Result<Self> {
        if !self.drops_experts() {
            return Ok(self);
        }
        let most = |block: &BlockExperts| block.num_experts.saturating_sub(block.num_active);
        self.max_dropped_experts = Some(blocks.iter().map(most).collect());
        for group in &self.groups {
            let mut edits = group
                .unit_idxs
                .iter()
                .flat_map(|&idx| self.edits[idx].iter());
            let Some(block_idx) = edits.by_ref().flatten().find_map(block_of_expert) else {
                continue;
            };
            let least = self.cost(&self.min_cost_genotype(), group);
            if least <= group.max_cost || self.is_in_bytes() {
                continue;
            }
            let BlockExperts {
                num_experts,
                num_active,
            } = blocks[block_idx as usize];
            return Err(SearchError::Budget(format!(
                "the budget leaves {} of the {num_experts} experts of block {block_idx}, and its router sends each token to {num_active}",
                group.max_cost
            )));
        }
        self.check_budget()?;
        Ok(self)
    }

    /// Whether any level drops an expert.
    pub fn drops_experts(&self) -> bool {
        let mut edits = self.edits.iter().flatten().flatten();
        edits.any(|edit| block_of_expert(edit).is_some())
    }

    /// How many experts of each block a genotype drops.
    pub(crate) fn dropped_experts(&self, genotype: &Genotype) -> DroppedExperts {
        let mut counts = Vec::new();
        if self.max_dropped_experts.is_some() {
            counts = vec![0; self.num_blocks()];
            let blocks = self.chosen(genotype);
            for block_idx in blocks.filter_map(|edit| block_of_expert(&edit)) {
                counts[block_idx as usize] += 1;
            }
        }
        DroppedExperts(counts)
    }

    /// Whether a unit of a genotype, which drops `dropped`, may get another level.
    pub(crate) fn keeps_active_experts(
        &self,
        dropped: &DroppedExperts,
        genotype: &Genotype,
        unit_idx: usize,
        level: usize,
    ) -> bool {
        let Some(most) = &self.max_dropped_experts else {
            return true;
        };
        let before = self.edits(unit_idx, genotype.level(unit_idx));
        let after = self.edits(unit_idx, level);
        let count = |edits: &[ResolvedEdit], block_idx: u32| {
            let blocks = edits.iter().filter_map(block_of_expert);
            blocks.filter(|&it| it == block_idx).count()
        };
        after.iter().filter_map(block_of_expert).all(|block_idx| {
            let now = dropped.0[block_idx as usize];
            now - count(before, block_idx) + count(after, block_idx) <= most[block_idx as usize]
        })
    }

    /// Whether a genotype leaves each block as many experts as a token needs.
    pub(super) fn has_active_experts(&self, genotype: &Genotype) -> bool {
        let Some(most) = &self.max_dropped_experts else {
            return true;
        };
        let dropped = self.dropped_experts(genotype).0;
        dropped
            .iter()
            .zip(most)
            .all(|(dropped, most)| dropped <= most)
    }

    /// Gives units that drop experts their first level where a block would have too few left.
    pub(crate) fn restore_active_experts(&self, genotype: &mut Genotype) {
        let Some(most) = &self.max_dropped_experts else {
            return;
        };
        let mut dropped = self.dropped_experts(genotype).0;
        for unit_idx in 0..self.units.len() {
            let level = genotype.level(unit_idx);
            let blocks = self
                .edits(unit_idx, level)
                .iter()
                .filter_map(block_of_expert);
            let blocks: Vec<usize> = blocks.map(|block_idx| block_idx as usize).collect();
            if blocks.iter().any(|&it| dropped[it] > most[it]) {
                genotype.0[unit_idx] = 0;
                blocks.into_iter().for_each(|it| dropped[it] -= 1);
            }
        }
    }
}

/// The block of an expert that an edit drops.
fn block_of_expert(edit: &ResolvedEdit) -> Option<u32> {
    match edit {
        ResolvedEdit::Drop {
            block_idx,
            part: BlockPart::Expert { .. },
        } => Some(*block_idx),
        _ => None,
    }
}
