//! What a method makes of a model: units with levels, and budgets for groups of units.

use super::{LayerOutline, SubBlock};
use crate::Encoding;

/// One way to store a layer's weight in fewer bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Short name within the layer, lower-case letters, digits, hyphens and dots: `3bit`, `0.5`.
    pub name: String,
    /// How the weight is packed.
    pub encoding: Encoding,
}

/// A part of a transformer block that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlockPart {
    /// The attention sub-block.
    Attention,
    /// The MLP sub-block, with all its experts where it has some.
    Mlp,
    /// One expert of the MLP.
    Expert {
        /// The expert, counted from 0 within its block.
        expert_idx: u32,
    },
}

impl BlockPart {
    /// Whether a layer of the same block is in this part.
    pub fn contains(self, layer: &LayerOutline) -> bool {
        match self {
            BlockPart::Attention => layer.sub_block == SubBlock::Attention,
            BlockPart::Mlp => layer.sub_block == SubBlock::Mlp,
            BlockPart::Expert { expert_idx } => layer.expert_idx == Some(expert_idx),
        }
    }
}

impl From<SubBlock> for BlockPart {
    fn from(sub_block: SubBlock) -> Self {
        match sub_block {
            SubBlock::Attention => BlockPart::Attention,
            SubBlock::Mlp => BlockPart::Mlp,
        }
    }
}

/// A change to the dense model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// The part adds nothing to the residual stream.
    Drop {
        /// The block, counted from 0.
        block_idx: u32,
        /// What of the block is left out.
        part: BlockPart,
    },
    /// The layer's weight is one that the method has compressed.
    Replace {
        /// The layer, an index into [`ModelOutline::layers`](super::ModelOutline::layers).
        layer_idx: u32,
        /// Which of its compressed weights.
        variant: Variant,
    },
}

impl Edit {
    /// Leaves out an attention or MLP sub-block.
    pub fn drop(block_idx: u32, sub_block: SubBlock) -> Self {
        Edit::Drop {
            block_idx,
            part: sub_block.into(),
        }
    }

    /// Whether the edit leaves a layer out.
    pub fn drops(&self, layer: &LayerOutline) -> bool {
        match self {
            Edit::Drop { block_idx, part } => layer.block_idx == *block_idx && part.contains(layer),
            Edit::Replace { .. } => false,
        }
    }
}

/// One choice for a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Short name within the unit: `keep`, `drop`, `3bit`.
    pub name: String,
    /// Cost in the method's own measure (kept sub-blocks, kept weights, bits).
    pub cost: u64,
    /// What the level does to the dense model. Empty where the unit is left as it is.
    pub edits: Vec<Edit>,
}

/// Something that gets a level: a layer, an expert, a sub-block, a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Unique name: `model.layers.3.self_attn`, `model.layers.3.mlp`, `model.layers.3`,
    /// `model.layers.3.mlp.up_proj`.
    pub name: String,
    /// Level switches move cost only between units of one group: `attention`, `mlp`, `sub-block`,
    /// `block`. Where it is empty, the pipeline's `search.grouping` decides.
    pub group: String,
    /// The block, counted from 0.
    pub block_idx: u32,
    /// The layers that its levels change, indices into
    /// [`ModelOutline::layers`](super::ModelOutline::layers).
    pub layer_idxs: Vec<u32>,
    /// At least two levels in order of falling cost.
    pub levels: Vec<Level>,
    /// The level at which the calibration of a level database goes on to the next block, an index
    /// into `levels`.
    pub calibration_level: u32,
}

/// The highest total cost that the units of a group may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupBudget {
    /// The group's name.
    pub group: String,
    /// Highest sum of the chosen levels' costs.
    pub max_cost: u64,
}
