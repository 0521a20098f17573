//! A genotype, and the model that it stands for.

use evopress_plugin::{BlockPart, LayerOutline, SubBlock};
use serde::{Deserialize, Serialize};

/// One level index per unit, in the order of [`super::SearchSpace::units`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Genotype(pub Vec<u16>);

impl Genotype {
    /// The level of a unit.
    pub fn level(&self, unit_idx: usize) -> usize {
        usize::from(self.0[unit_idx])
    }
}

/// Which sub-blocks and experts are left out of the forward pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dropped {
    /// Per block: no attention.
    pub attention: Vec<bool>,
    /// Per block: no MLP.
    pub mlp: Vec<bool>,
    /// Per block: the experts that its router no longer knows, by rising number; none where the
    /// whole MLP is left out.
    pub experts: Vec<Vec<u32>>,
}

impl Dropped {
    /// The dense model.
    pub fn none(num_blocks: usize) -> Self {
        Self {
            attention: vec![false; num_blocks],
            mlp: vec![false; num_blocks],
            experts: vec![Vec::new(); num_blocks],
        }
    }

    /// Sub-blocks that run.
    pub fn num_kept(&self) -> usize {
        self.attention
            .iter()
            .chain(&self.mlp)
            .filter(|dropped| !**dropped)
            .count()
    }

    /// Leaves out a part of a block.
    pub(super) fn drop(&mut self, block_idx: usize, part: BlockPart) {
        let experts = &mut self.experts[block_idx];
        match part {
            BlockPart::Attention => self.attention[block_idx] = true,
            BlockPart::Mlp => {
                self.mlp[block_idx] = true;
                experts.clear();
            }
            BlockPart::Expert { expert_idx } if !self.mlp[block_idx] => {
                if let Err(at) = experts.binary_search(&expert_idx) {
                    experts.insert(at, expert_idx);
                }
            }
            // `check` has refused every other part.
            _ => {}
        }
    }

    /// Whether a sub-block is left out.
    pub fn contains(&self, block_idx: usize, sub_block: SubBlock) -> bool {
        match sub_block {
            SubBlock::Attention => self.attention[block_idx],
            SubBlock::Mlp => self.mlp[block_idx],
        }
    }

    /// Whether a layer is left out: with its sub-block, or with its expert.
    pub fn contains_layer(&self, layer: &LayerOutline) -> bool {
        let block_idx = layer.block_idx as usize;
        let is_of = |expert_idx| self.experts[block_idx].binary_search(&expert_idx).is_ok();
        self.contains(block_idx, layer.sub_block) || layer.expert_idx.is_some_and(is_of)
    }

    /// Whether two candidates leave out the same of a block.
    pub fn agrees_with(&self, other: &Self, block_idx: usize) -> bool {
        self.attention[block_idx] == other.attention[block_idx]
            && self.mlp[block_idx] == other.mlp[block_idx]
            && self.experts[block_idx] == other.experts[block_idx]
    }
}

/// A compressed weight of a layer, as a level database keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WeightId {
    /// The method, an index into the methods that the search space was made of.
    pub method_idx: u16,
    /// The layer, an index into the outline's layers.
    pub layer_idx: u32,
    /// The variant, an index into [`super::LayerVariants::variants`].
    pub variant_idx: u16,
}

/// What a genotype makes of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// What does not run.
    pub dropped: Dropped,
    /// By layer of the outline: the compressed weight that stands in for the dense one. None where
    /// the dense weight stays, and for layers that are dropped.
    pub weights: Vec<Option<WeightId>>,
}

impl Candidate {
    /// The dense model.
    pub fn dense(num_blocks: usize, num_layers: usize) -> Self {
        Self {
            dropped: Dropped::none(num_blocks),
            weights: vec![None; num_layers],
        }
    }
}
