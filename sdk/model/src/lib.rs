//! The decoder: token ids and a candidate in, hidden states and what a fitness needs of the head
//! out.
//!
//! One decoder serves every family: it iterates over a [`ModelSpec`](evopress_source::ModelSpec),
//! and refuses by name what it does not compute. A
//! [`Candidate`](evopress_search::genotype::Candidate) says which weights stand in for the dense
//! ones and which sub-blocks are left out. [`Engine`] is a model on its compute threads; each of
//! them has a [`Context`].
//!
//! Shapes: B sequences of L tokens, T = B·L, D hidden size, d head size, I intermediate size, V
//! vocabulary, E experts, k of them that a token takes, n tokens of one expert.
#![forbid(unsafe_code)]

mod block;
mod block_store;
mod block_weights;
mod context;
mod engine;
mod error;
mod experts;
mod forward;
mod head;
mod head_ops;
mod kept_weights;
mod mlp;
mod model;
mod norm;
mod observed;
mod read;
mod rope_table;
mod row_store;
mod runs;
mod stream;
mod sub_block;
mod supported;
mod traced;
mod walk;

pub use block_store::LevelSource;
pub use block_weights::BlockWeights;
pub use context::Context;
pub use engine::Engine;
pub use error::{ModelError, Result};
pub use head::Head;
pub use model::Model;
pub use observed::{ExpertOutput, Input, Observed, Observer};
pub use read::{Parts, read_parts, read_tensor};
pub use stream::Stream;
pub use traced::{SlotWeight, Traced, TracedLayer};
pub use walk::{Items, Walk};
