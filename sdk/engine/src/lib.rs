//! EvoPress as a library: the best compression level per layer under a global budget, found by an evolutionary search
//! over whole models (Sieberling et al., ICML 2025).
//!
//! ```text
//! source ──▶ model ──▶ evaluator (fitness of genotypes) ──▶ search ──▶ export ──▶ evaluation of what was written
//! ```
//! - [`source`]: models on disk (Hugging Face folders, GGUF), their configuration and tokenizer.
//! - [`model`], [`head`]: the decoder and its head on libtorch, with kernels of our own where libtorch wastes time.
//! - [`levels`]: level databases, built by method plugins block by block, packed on disk, decoded where they are used.
//! - [`genotype`]: units, levels and budgets of one or several method plugins, and the model that a genotype stands for.
//! - [`evaluator`], [`corpus`]: candidates × calibration sequences → losses, on fixed compute threads.
//! - [`gradient`]: what single moves of a genotype would do, predicted for all of them at once.
//! - [`search`]: the paper's search, deterministic in its seed and resumable after every generation.
//! - [`baselines`]: uniform, dynamic programming, OWL, block influence, cosine window, best of N random.
//! - [`evaluation`]: perplexity and KL divergence on held-out text.
//! - [`export`]: a Hugging Face folder that any runtime of the family loads.

pub mod corpus;
pub mod device;
mod error;
pub mod evaluation;
pub mod evaluator;
pub mod export;
pub mod gradient;
pub mod head;
mod kernels;
pub mod levels;
pub mod model;
mod pool;
mod prefixes;
mod rope_table;
#[cfg(test)]
mod small_models;
mod weights;

pub use evopress_source as source;

pub use error::{EngineError, Result};
pub use evopress_search::{SearchError, baselines, genotype, search};
