//! Races: challengers against the genotype in the parent's place, on the same sequences, one
//! sequence after another.

mod challenger;
mod difference;
mod rules;
mod sequential_test;

pub(super) use rules::{Race, Verdict};

#[cfg(test)]
mod tests;
