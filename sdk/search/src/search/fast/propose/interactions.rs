//! What level changes do together with those that a genotype has made already.

use crate::genotype::Genotype;
use crate::search::fast::regression::Sampled;
use crate::search::fast::surrogate::Surrogate;

/// For every level change the sums of its products with the changes that other units have made,
/// kept up to date from one change to the next. Memory is linear in changes.
#[derive(Clone)]
pub(super) struct Interactions {
    /// By change: with those between levels.
    with_levels: Vec<f64>,
    /// By change: with those that drop or restore a sub-block.
    with_drops: Vec<f64>,
}

impl Interactions {
    /// With what a genotype has changed since the origin.
    pub(super) fn of(surrogate: &Surrogate, genotype: &Genotype) -> Self {
        let curvature = surrogate.curvature();
        let [with_levels, with_drops] = surrogate.changes_made(genotype).map(|made| {
            let mut sums = curvature.products_with_sum(&made);
            for change_idx in made {
                // A unit makes one change at a time.
                for own in surrogate.siblings(change_idx) {
                    sums[own] -= curvature.product(own, change_idx);
                }
            }
            sums
        });
        Self {
            with_levels,
            with_drops,
        }
    }

    /// A unit makes a change, or takes it back.
    pub(super) fn add(&mut self, surrogate: &Surrogate, change_idx: usize, is_made: bool) {
        let sums = match surrogate.is_drop(change_idx) {
            true => &mut self.with_drops,
            false => &mut self.with_levels,
        };
        let row = surrogate.curvature().row(change_idx);
        let own = surrogate.siblings(change_idx);
        let mut add = |others: std::ops::Range<usize>| {
            for (sum, product) in sums[others.clone()].iter_mut().zip(&row[others]) {
                match is_made {
                    true => *sum += product,
                    false => *sum -= product,
                }
            }
        };
        add(0..own.start);
        add(own.end..row.len());
    }

    /// What a change does to the loss together with those that others have made, by a draw of the
    /// posterior.
    pub(super) fn loss(&self, surrogate: &Surrogate, sampled: &Sampled, change_idx: usize) -> f64 {
        let (levels, drops) = (self.with_levels[change_idx], self.with_drops[change_idx]);
        match surrogate.is_drop(change_idx) {
            true => sampled.drops_together() * (levels + drops),
            false => sampled.levels_together() * levels + sampled.drops_together() * drops,
        }
    }
}
