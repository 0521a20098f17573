//! Genotypes that were not searched for, at the same budget as the search.
//!
//! | name | where | what |
//! |---|---|---|
//! | `uniform` | weights are compressed | the same level everywhere |
//! | `dynamic-programming` | weights are compressed, none dropped | [`dynamic_programming`] on the layers' errors |
//! | `owl` | sparsity | [`owl`] on the layers' outliers |
//! | `block-influence`, `cosine-window` | whole blocks are dropped | what turns the residual stream least |
//! | `router` | experts are dropped | what the router sends least to, times what that adds |
//! | `best-of-random` | everywhere | the best of N random genotypes by the run's own fitness |

mod all;
mod baseline;
mod depth;
mod dynamic;
mod outliers;
mod router;

pub use all::{Scores, Settings, all};
pub use baseline::Baseline;
pub use dynamic::{dynamic_programming, unit_errors};
pub use outliers::owl;

#[cfg(test)]
mod tests;
