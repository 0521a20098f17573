//! Where a fast search is: a genotype, and what is known around it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::genotype::Genotype;

/// The genotype that offspring are made from, and what is known around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) genotype: Genotype,
    /// Its loss by calibration sequence, where it was measured.
    pub(super) losses: BTreeMap<usize, f64>,
    /// Genotypes that did not beat it, each with the mean of its losses' differences.
    pub(super) rejected: Vec<(Genotype, f64)>,
    /// Sequences that a decision takes.
    pub(super) evidence: usize,
    /// Exchanges that an offspring may be made of at most.
    pub(super) reach: usize,
    /// Generations in which everyone was plainly worse, since the last success or the last growth
    /// of the evidence.
    pub(super) failures: u32,
    /// Generations without success at most evidence.
    pub(super) fruitless: u32,
}

/// The best genotype beyond doubt, and what was known around it when the search left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Incumbent {
    genotype: Genotype,
    losses: BTreeMap<usize, f64>,
    rejected: Vec<(Genotype, f64)>,
    evidence: usize,
}

impl Position {
    /// At a genotype whose losses on some sequences are known.
    pub(super) fn new(
        genotype: Genotype,
        losses: BTreeMap<usize, f64>,
        evidence: usize,
        reach: usize,
    ) -> Self {
        Self {
            genotype,
            losses,
            rejected: Vec::new(),
            evidence,
            reach,
            failures: 0,
            fruitless: 0,
        }
    }

    /// The mean loss over all sequences that the genotype was measured on.
    pub(super) fn fitness(&self) -> f64 {
        self.losses.values().sum::<f64>() / self.losses.len().max(1) as f64
    }

    /// On to another genotype. What has worked may be tried at twice the size: an exchange changes
    /// two units.
    pub(super) fn move_to(
        &mut self,
        genotype: Genotype,
        losses: BTreeMap<usize, f64>,
        max_exchanges: usize,
    ) {
        let reach = num_changed(&self.genotype, &genotype).clamp(1, max_exchanges);
        *self = Self::new(genotype, losses, self.evidence, reach);
    }

    /// Remembers genotypes that were no better, with their mean differences.
    pub(super) fn reject(&mut self, genotypes: &[Genotype], means: impl Iterator<Item = f64>) {
        self.rejected.extend(genotypes.iter().cloned().zip(means));
    }

    /// Whether a genotype was no better than this one.
    pub(super) fn is_rejected(&self, genotype: &Genotype) -> bool {
        let mut rejected = self.rejected.iter();
        rejected.any(|(rejected, _)| rejected == genotype)
    }

    /// The least bad of the genotypes that were no better and are not among `visited`.
    pub(super) fn next_best(&self, visited: &[Genotype]) -> Option<&Genotype> {
        let fresh = |(genotype, _): &&(Genotype, f64)| !visited.contains(genotype);
        let rejected = self.rejected.iter().filter(fresh);
        let best = rejected.min_by(|a, b| a.1.total_cmp(&b.1));
        best.map(|(genotype, _)| genotype)
    }

    /// What the search leaves behind when it goes on from here.
    pub(super) fn into_incumbent(self) -> Incumbent {
        Incumbent {
            genotype: self.genotype,
            losses: self.losses,
            rejected: self.rejected,
            evidence: self.evidence,
        }
    }
}

impl Incumbent {
    /// The search is here again, coming from `ahead`.
    pub(super) fn into_position(self, ahead: &Genotype, max_exchanges: usize) -> Position {
        let reach = num_changed(ahead, &self.genotype).clamp(1, max_exchanges);
        Position {
            rejected: self.rejected,
            ..Position::new(self.genotype, self.losses, self.evidence, reach)
        }
    }
}

/// Units whose levels differ.
fn num_changed(before: &Genotype, after: &Genotype) -> usize {
    let pairs = before.0.iter().zip(&after.0);
    pairs.filter(|(before, after)| before != after).count()
}
