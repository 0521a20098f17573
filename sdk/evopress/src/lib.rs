//! EvoPress as a library: the best compression level per layer under a global budget, found by an
//! evolutionary search over whole models (Sieberling et al., ICML 2025).
//!
//! This crate holds no code of its own. It puts the crates of the engine under one name, in the
//! order of the way of the data:
//!
//! ```text
//! source ──▶ model ──▶ levels ──▶ evaluate (fitness of genotypes) ──▶ search ──▶ export ──▶ evaluate what was written
//! ```
//!
//! - [`source`]: models on disk (Hugging Face folders, GGUF), what they compute, their tokenizer;
//!   token sequences of a text.
//! - [`model`]: the decoder and its head on libtorch, on compute threads.
//! - [`levels`]: level databases, built by method plugins block by block.
//! - [`genotype`], [`search`], [`baselines`], [`prediction`]: search spaces, the paper's search and
//!   the fast one.
//! - [`evaluate`]: the fitness of genotypes on calibration text, their quality on held-out text.
//! - [`export`]: the model that a genotype stands for, in formats that runtimes load.
//! - [`tensor`], [`device`]: what all of them compute with.
//!
//! # A whole search
//!
//! The example `depth-search` searches for the quarter of a model's blocks to leave out, with a
//! fitness of its own: `cargo run -p evopress-examples --bin depth-search -- MODEL TEXT`.
//!
//! ```no_run
#![doc = include_str!("../../../examples/src/depth_search.rs")]
//! ```
#![forbid(unsafe_code)]

mod error;

pub use evopress_evaluate as evaluate;
pub use evopress_export as export;
pub use evopress_levels as levels;
pub use evopress_model as model;
pub use evopress_plugin as plugin;
pub use evopress_search::{SearchError, baselines, fitness, genotype, prediction, search};
pub use evopress_source as source;
pub use evopress_tensor as tensor;
pub use evopress_tensor::device;

pub use error::{Error, Result};
