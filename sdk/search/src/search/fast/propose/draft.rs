//! A genotype in the making: exchanges, each the most promising that is left.

use super::interactions::Interactions;
use crate::genotype::{Genotype, Group, SearchSpace};
use crate::search::fast::regression::Sampled;
use crate::search::fast::surrogate::Surrogate;

/// What a draft is made by.
pub(super) struct Draft<'a> {
    space: &'a SearchSpace,
    surrogate: &'a Surrogate,
    sampled: &'a Sampled,
    interactions: &'a Interactions,
}

/// A genotype, and what its changes do together with all others.
#[derive(Clone)]
struct Made {
    genotype: Genotype,
    interactions: Interactions,
}

/// A unit's way to another level, and what it does.
#[derive(Debug, Clone, Copy)]
struct Promise {
    unit_idx: usize,
    level: u16,
    /// What it is expected to do to the loss.
    loss: f64,
    /// What it does to the cost.
    cost: i64,
}

impl<'a> Draft<'a> {
    /// By a draw of the posterior; `interactions` are those of the genotype that is to be exchanged
    /// in.
    pub(super) fn new(
        space: &'a SearchSpace,
        surrogate: &'a Surrogate,
        sampled: &'a Sampled,
        interactions: &'a Interactions,
    ) -> Self {
        Self {
            space,
            surrogate,
            sampled,
            interactions,
        }
    }

    /// Makes up to `count` exchanges, each the most promising that is left, as long as they promise
    /// anything. The first is made in any case. An exchange raises one of the `max_raised` units
    /// that promise most.
    pub(super) fn exchange(
        &self,
        genotype: &Genotype,
        count: usize,
        max_raised: usize,
    ) -> Genotype {
        let mut made = Made {
            genotype: genotype.clone(),
            interactions: self.interactions.clone(),
        };
        for idx in 0..count {
            let groups = self.space.groups().iter();
            let found = groups.filter_map(|group| self.best_exchange(&made, group, max_raised));
            let best = found.min_by(|a, b| a.0.total_cmp(&b.0));
            match best {
                Some((loss, changes)) if loss < 0.0 || idx == 0 => {
                    for (unit_idx, level) in changes {
                        self.set(&mut made, unit_idx, level);
                    }
                }
                _ => break,
            }
        }
        made.genotype
    }

    /// The exchange within a group that promises most: one unit raised and as many lowered as that
    /// takes. None where there is none.
    fn best_exchange(
        &self,
        made: &Made,
        group: &Group,
        max_raised: usize,
    ) -> Option<(f64, Vec<(usize, u16)>)> {
        let mut raised = self.promises(made, group, true);
        raised.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        raised.truncate(max_raised);
        let tried = raised.into_iter().filter_map(|raise| {
            let mut tried = made.clone();
            self.set(&mut tried, raise.unit_idx, raise.level);
            let mut loss = raise.loss;
            let mut changes = vec![(raise.unit_idx, raise.level)];
            loop {
                let cost = self.space.cost(&tried.genotype, group) as i64;
                let excess = cost - group.max_cost as i64;
                if excess <= 0 {
                    break;
                }
                let lower = self.best_saving(&tried, group, excess, raise.unit_idx)?;
                loss += lower.loss;
                self.set(&mut tried, lower.unit_idx, lower.level);
                changes.push((lower.unit_idx, lower.level));
            }
            Some((loss, changes))
        });
        tried.min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The lowering that loses least for what it saves of an excess, of any unit but one.
    fn best_saving(
        &self,
        made: &Made,
        group: &Group,
        excess: i64,
        raised_unit: usize,
    ) -> Option<Promise> {
        let rank = |promise: &Promise| {
            let saved = (-promise.cost).min(excess) as f64 / excess as f64;
            // What promises to gain is best where it gains most, what loses where it loses least
            // for what it saves.
            match promise.loss < 0.0 {
                true => promise.loss,
                false => promise.loss / saved,
            }
        };
        let promises = self.promises(made, group, false).into_iter();
        promises
            .filter(|promise| promise.unit_idx != raised_unit)
            .min_by(|a, b| rank(a).total_cmp(&rank(b)))
    }

    /// Every way up, or down, of the group's units within the surrogate's level changes.
    fn promises(&self, made: &Made, group: &Group, raise: bool) -> Vec<Promise> {
        let mut promises = Vec::with_capacity(group.unit_idxs.len());
        let dropped = self.space.dropped_experts(&made.genotype);
        for &unit_idx in &group.unit_idxs {
            if self.space.is_idle(&made.genotype, unit_idx) {
                continue;
            }
            let now = made.genotype.0[unit_idx];
            for level in self.surrogate.levels(unit_idx) {
                let is_that_way = if raise { level < now } else { level > now };
                if !is_that_way {
                    continue;
                }
                let (space, genotype) = (self.space, &made.genotype);
                let cost = space.cost_change(genotype, unit_idx, level.into());
                if (cost > 0) == raise
                    && cost != 0
                    && space.keeps_active_experts(&dropped, genotype, unit_idx, level.into())
                {
                    promises.push(Promise {
                        unit_idx,
                        level,
                        loss: self.loss(made, unit_idx, level),
                        cost,
                    });
                }
            }
        }
        promises
    }

    /// What the unit's way to a level does to the predicted loss, beside all changes that other
    /// units have made.
    fn loss(&self, made: &Made, unit_idx: usize, level: u16) -> f64 {
        let at = |level: u16| {
            let change = self.surrogate.change(unit_idx, level);
            change.map_or(0.0, |idx| {
                let together = made.interactions.loss(self.surrogate, self.sampled, idx);
                self.sampled.alone(idx) + together
            })
        };
        at(level) - at(made.genotype.0[unit_idx])
    }

    fn set(&self, made: &mut Made, unit_idx: usize, level: u16) {
        let before = self.surrogate.change(unit_idx, made.genotype.0[unit_idx]);
        let after = self.surrogate.change(unit_idx, level);
        made.genotype.0[unit_idx] = level;
        for (change, is_made) in [(before, false), (after, true)] {
            if let Some(change_idx) = change {
                made.interactions.add(self.surrogate, change_idx, is_made);
            }
        }
    }
}
