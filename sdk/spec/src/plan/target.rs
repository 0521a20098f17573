//! The budget of a plan.

use serde::{Deserialize, Serialize};

/// The budget: exactly one measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Share of sub-blocks (or blocks) to drop, above 0 and below 1.
    Drop(f64),
    /// Share of weights to set to zero, above 0 and below 1.
    Sparsity(f64),
    /// Average bits a weight.
    BitsPerWeight(f64),
    /// Size of the compressed model's weights in bytes.
    SizeBytes(u64),
    /// Dense size divided by compressed size, above 1.
    Compression(f64),
}

impl Target {
    /// The name of the measure, as specs and methods spell it.
    pub fn measure(&self) -> &'static str {
        match self {
            Target::Drop(_) => "drop",
            Target::Sparsity(_) => "sparsity",
            Target::BitsPerWeight(_) => "bits_per_weight",
            Target::SizeBytes(_) => "size_bytes",
            Target::Compression(_) => "compression",
        }
    }

    /// The value in that measure.
    pub fn value(&self) -> f64 {
        match *self {
            Target::Drop(v)
            | Target::Sparsity(v)
            | Target::BitsPerWeight(v)
            | Target::Compression(v) => v,
            Target::SizeBytes(bytes) => bytes as f64,
        }
    }

    /// Whether the budget is in bytes, which levels of any method have in common.
    pub fn is_in_bytes(&self) -> bool {
        matches!(self, Target::SizeBytes(_) | Target::Compression(_))
    }
}
