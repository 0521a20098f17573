//! Artifacts whose blocks lack an attention or an MLP, or have a narrower MLP than the others.

use evopress_plugin::SubBlock;

use crate::spec::ModelSpec;

/// What is stored of a model's blocks, one entry a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reduced {
    pub(crate) blocks: Vec<StoredBlock>,
}

/// What is stored of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredBlock {
    pub(crate) attention: bool,
    /// 0 where there is no MLP.
    pub(crate) mlp_width: i64,
}

impl Reduced {
    /// The model with no more than what is stored; `spec` has as many blocks, all whole.
    pub(crate) fn of(&self, mut spec: ModelSpec) -> ModelSpec {
        for (block, stored) in spec.blocks.iter_mut().zip(&self.blocks) {
            if !stored.attention {
                block.remove(SubBlock::Attention);
            }
            match stored.mlp_width {
                0 => block.remove(SubBlock::Mlp),
                width => block.set_mlp_width(width),
            }
        }
        spec
    }
}
