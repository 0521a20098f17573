//! Spending what is left of a budget.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::genotype::{Genotype, Group, SearchSpace};
use crate::prediction::LevelChange;

/// A level change, and what the cost of the unit's group grows by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CostedChange {
    pub(super) change: LevelChange,
    pub(super) cost: i64,
}

impl CostedChange {
    /// Of a genotype's unit to a level.
    pub(super) fn new(
        space: &SearchSpace,
        genotype: &Genotype,
        unit_idx: usize,
        level: usize,
    ) -> Self {
        Self {
            change: LevelChange { unit_idx, level },
            cost: space.cost_change(genotype, unit_idx, level),
        }
    }
}

/// Raises random ones of `unit_idxs` (in rising order, all in `group`) to their method's next more
/// costly level while one fits. Which method compresses a unit is for level switches to decide:
/// this may raise many units at once, and some method may be bad for all.
pub(super) fn fill(
    space: &SearchSpace,
    group: &Group,
    unit_idxs: &[usize],
    genotype: &mut Genotype,
    rng: &mut impl Rng,
) {
    let mut slack = group.max_cost as i64 - space.cost(genotype, group) as i64;
    if slack <= 0 {
        return;
    }
    let mut raises = Raises::new(space, unit_idxs, genotype, slack);
    while let Some(raise) = raises.affordable.choose(rng).copied() {
        let unit_idx = raise.change.unit_idx;
        genotype.0[unit_idx] = raise.change.level as u16;
        slack -= raise.cost;
        raises.update(genotype, unit_idx, slack);
    }
}

/// The raises that fit, kept up to date from one to the next: among many units most stay what they
/// were.
struct Raises<'a> {
    space: &'a SearchSpace,
    unit_idxs: &'a [usize],
    /// At most one for each unit, in the units' order.
    affordable: Vec<CostedChange>,
    /// The highest cost among them, or more.
    max_cost: i64,
}

impl<'a> Raises<'a> {
    fn new(
        space: &'a SearchSpace,
        unit_idxs: &'a [usize],
        genotype: &Genotype,
        slack: i64,
    ) -> Self {
        let raises = unit_idxs
            .iter()
            .filter_map(|&unit_idx| next_raise(space, genotype, unit_idx));
        let mut found = Self {
            space,
            unit_idxs,
            affordable: raises.collect(),
            max_cost: i64::MAX,
        };
        found.keep_affordable(slack);
        found
    }

    /// After a raise of a unit, which has left `slack`.
    fn update(&mut self, genotype: &Genotype, raised: usize, slack: i64) {
        for unit_idx in self.space.units_with_shared_cost(raised) {
            if self.unit_idxs.binary_search(&unit_idx).is_err() {
                continue;
            }
            let raise = next_raise(self.space, genotype, unit_idx);
            let raise = raise.filter(|raise| raise.cost <= slack);
            self.max_cost = self.max_cost.max(raise.map_or(0, |raise| raise.cost));
            let known = self
                .affordable
                .binary_search_by_key(&unit_idx, |raise| raise.change.unit_idx);
            match (known, raise) {
                (Ok(at), Some(raise)) => self.affordable[at] = raise,
                (Ok(at), None) => drop(self.affordable.remove(at)),
                (Err(at), Some(raise)) => self.affordable.insert(at, raise),
                (Err(_), None) => {}
            }
        }
        self.keep_affordable(slack);
    }

    fn keep_affordable(&mut self, slack: i64) {
        if self.max_cost <= slack {
            return;
        }
        self.affordable.retain(|raise| raise.cost <= slack);
        let costs = self.affordable.iter().map(|raise| raise.cost);
        self.max_cost = costs.max().unwrap_or(0);
    }
}

/// The next level above of the same method that costs more.
fn next_raise(space: &SearchSpace, genotype: &Genotype, unit_idx: usize) -> Option<CostedChange> {
    let now = genotype.level(unit_idx);
    let method_idx = space.method_idx(unit_idx, now);
    (0..now)
        .rev()
        .filter(|&level| space.method_idx(unit_idx, level) == method_idx)
        .map(|level| CostedChange::new(space, genotype, unit_idx, level))
        .find(|raise| raise.cost > 0)
}
