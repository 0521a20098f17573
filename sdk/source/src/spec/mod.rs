//! What a model computes, as data.
//!
//! The reader of a family makes a [`ModelSpec`] from a file's configuration. Everything else
//! iterates over it: the decoder, gradients, level databases, groups of units, estimates and
//! artifacts. None of them knows a family or counts the layers of a block.
//!
//! A model is an embedding, blocks, a final norm and a head. A block is two sub-blocks, attention
//! and MLP, of which one may be missing. Each sub-block has linear layers, and each layer reads one
//! of the block's tensors ([`LayerInput`]).
//!
//! Indices: `block_idx` counts blocks, `slot` counts the layers of one block, and `layer_idx`
//! counts the layers of all blocks, in the order of the forward pass.

mod block;
mod expert_slots;
mod experts;
mod layer;
mod model;
mod outline;
mod rope;
#[cfg(test)]
pub(crate) mod small;
mod tensors;

pub use block::{
    Activation, AttentionSpec, BlockSpec, InputGroup, MlpSpec, NormPlace, NormSpec, QueryGrowth,
};
pub use expert_slots::GatedSlots;
pub use experts::{ExpertsSpec, SharedExpertSpec};
pub use layer::{LayerInput, LayerRole, LayerSpec, Stacked};
pub use model::{EmbeddingSpec, HeadSpec, Layer, ModelSpec};
pub(crate) use rope::too_many_factors;
pub use rope::{Rope, RopeScaling};
pub use tensors::{StoredRows, TensorPart, TensorSpec};
