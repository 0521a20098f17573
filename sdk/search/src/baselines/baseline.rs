//! A baseline.

use crate::genotype::Genotype;

/// A genotype that was not searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// As in the table of [`super`].
    pub name: String,
    /// What it chose.
    pub genotype: Genotype,
}

impl Baseline {
    pub(super) fn new(name: &str, genotype: Genotype) -> Self {
        Self {
            name: name.to_owned(),
            genotype,
        }
    }
}
