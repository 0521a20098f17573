//! Level databases: every variant of every layer that a method can make, packed, on disk, decoded
//! where it is used.
//!
//! In go a model, calibration text and a method plugin; out comes a folder with a safetensors file
//! for each layer. Blocks are built in order, as the reference's sequential calibration does: the
//! statistics of a block's inputs are collected with the block's dense weights behind the
//! compressed blocks before it, the method compresses the block's layers to all their variants, and
//! the activations go on through the block at the method's calibration level. Every finished layer
//! is durable; a build that is interrupted goes on at the first layer that its manifest lacks, and
//! a damaged layer is built again alone.

#![forbid(unsafe_code)]

mod activations;
mod build;
mod compress;
mod database;
mod decode;
mod error;
mod file;
mod ledger;
mod parts;
mod quality;
#[cfg(feature = "fixtures")]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub mod rounded;
mod statistics;

pub use build::{BATCH_TOKENS, Build, STATISTICS_BYTES, SharedMethod};
pub use database::Database;
pub use error::{LevelsError, Result};
