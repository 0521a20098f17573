//! From genotypes to numbers.
//!
//! - [`CalibratedFitness`]: the fitness of genotypes on calibration text, as the searches ask for
//!   it. It begins an offspring's forward pass at the first block in which it differs from its
//!   parent.
//! - [`gradient`]: what single level changes of a genotype would do, predicted for all of them at
//!   once.
//! - [`ExpertUse`]: what the routers do with the experts of a model that has some.
//! - [`quality`]: perplexity and KL divergence on held-out text.
#![forbid(unsafe_code)]

mod cosines;
mod error;
mod fitness;
pub mod gradient;
mod passes;
pub mod quality;
mod residual_cache;
mod routing;
mod shared_fitness;
#[cfg(test)]
mod small_models;
#[cfg(test)]
mod streaming_tests;

pub use error::{EvaluateError, Result};
pub use fitness::CalibratedFitness;
pub use gradient::CHANGES_AT_ONCE;
pub use quality::{Quality, Reference};
pub use routing::ExpertUse;
pub use shared_fitness::SharedFitness;
