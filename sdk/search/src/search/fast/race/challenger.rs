//! A genotype in a race.

use std::collections::BTreeMap;

use super::difference::Difference;
use crate::genotype::Genotype;
use crate::search::fast::tuning::RaceTuning;

/// Sequences from which on the spread of differences is taken as it is.
const ENOUGH_FOR_SPREAD: usize = 4;

/// A genotype that is held against the parent.
pub(super) struct Challenger<'a> {
    pub(super) genotype: &'a Genotype,
    /// By sequence.
    pub(super) losses: BTreeMap<usize, f64>,
    /// From the parent's, in the order of the race's sequences.
    differences: Vec<f64>,
    /// Sum of the parent's losses on the same sequences.
    parent_loss: f64,
    pub(super) is_racing: bool,
}

impl<'a> Challenger<'a> {
    pub(super) fn new(genotype: &'a Genotype) -> Self {
        Self {
            genotype,
            losses: BTreeMap::new(),
            differences: Vec::new(),
            parent_loss: 0.0,
            is_racing: true,
        }
    }

    /// Its loss on one more sequence, and the parent's.
    pub(super) fn add(&mut self, sequence_idx: usize, loss: f64, parent_loss: f64) {
        self.losses.insert(sequence_idx, loss);
        self.differences.push(loss - parent_loss);
        self.parent_loss += parent_loss;
    }

    /// From the parent.
    pub(super) fn difference(&self, tuning: &RaceTuning) -> Difference {
        self.of(&self.differences, tuning)
    }

    /// From another challenger that has seen the same sequences.
    pub(super) fn behind(&self, other: &[f64], tuning: &RaceTuning) -> Difference {
        let pairs = self.differences.iter().zip(other);
        let behind: Vec<f64> = pairs.map(|(own, other)| own - other).collect();
        self.of(&behind, tuning)
    }

    pub(super) fn differences(&self) -> &[f64] {
        &self.differences
    }

    /// Where differences are few their spread is itself uncertain, so it is taken to be no less
    /// than half of their mean, nor than a small part of the loss.
    fn of(&self, differences: &[f64], tuning: &RaceTuning) -> Difference {
        let count = differences.len().max(1) as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let floor = match differences.len() < ENOUGH_FOR_SPREAD {
            true => {
                let noise = tuning.min_relative_noise * self.parent_loss.abs() / count;
                (mean.abs() / 2.0).max(noise)
            }
            false => 0.0,
        };
        Difference::of(differences, floor)
    }
}
