//! A genotype, and the model that it stands for.

use evopress_plugin::SubBlock;
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

/// Which sub-blocks are left out of the forward pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dropped {
    /// Per block: no attention.
    pub attention: Vec<bool>,
    /// Per block: no MLP.
    pub mlp: Vec<bool>,
}

impl Dropped {
    /// The dense model.
    pub fn none(num_blocks: usize) -> Self {
        Self {
            attention: vec![false; num_blocks],
            mlp: vec![false; num_blocks],
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

    /// Leaves out a sub-block.
    pub(super) fn drop(&mut self, block_idx: usize, sub_block: SubBlock) {
        match sub_block {
            SubBlock::Attention => self.attention[block_idx] = true,
            SubBlock::Mlp => self.mlp[block_idx] = true,
        }
    }

    /// Whether a sub-block is left out.
    pub fn contains(&self, block_idx: usize, sub_block: SubBlock) -> bool {
        match sub_block {
            SubBlock::Attention => self.attention[block_idx],
            SubBlock::Mlp => self.mlp[block_idx],
        }
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
    /// Sub-blocks that do not run.
    pub dropped: Dropped,
    /// By layer of the outline: the compressed weight that stands in for the dense one. None where
    /// the dense weight stays, and for the layers of a dropped sub-block.
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
