//! Offspring: sets of exchanges that keep the budget and promise most by what is known, or by a draw of it.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::regression::{Posterior, Sampled};
use super::surrogate::Surrogate;
use super::{Memory, Settings};
use crate::genotype::{Genotype, Group, SearchSpace};
use crate::search::mutation;

/// How the offspring of a generation are made, in turn: of how many exchanges, and how far the draw of the posterior that they are best under
/// may be from its mean. What is expected to be best often is; the best under full draws are the best by the luck of the draw, with so many
/// moves to choose from.
const PROPOSALS: [(usize, f64); 8] = [
    (2, 0.0),
    (4, 0.0),
    (1, 0.0),
    (2, 0.5),
    (1, 0.5),
    (8, 0.0),
    (4, 0.5),
    (MOST_EXCHANGES, 0.5),
];
/// The least where the first draw has led to what was tried before.
const LEAST_OF_OTHER_DRAWS: f64 = 0.25;
/// Exchanges of the largest sets.
pub(super) const MOST_EXCHANGES: usize = 16;
/// Units that an exchange may raise: those that promise most.
const RAISED: usize = 12;
/// Draws before an offspring that was tried already is replaced by a mutation.
const DRAWS: usize = 8;

/// Exchanges that offspring may be made of however little has worked: among many units a single one does too little to be seen on a few
/// sequences.
pub(super) fn least_exchanges(space: &SearchSpace) -> usize {
    (space.units().len() / 50).clamp(1, 4)
}

/// Different offspring of the memory's current genotype, none of them tried before.
pub(super) fn offspring(
    space: &SearchSpace,
    surrogate: &Surrogate,
    memory: &Memory,
    settings: &Settings,
    rng: &mut impl Rng,
) -> Vec<Genotype> {
    let largest = (space.units().len() / 4).clamp(1, memory.reach.max(least_exchanges(space)));
    let mut offspring: Vec<Genotype> = Vec::with_capacity(settings.offspring);
    let posterior = Posterior::new(surrogate, &memory.observations, !settings.without.learning);
    for idx in 0..settings.offspring {
        let is_new = |genotype: &Genotype, offspring: &[Genotype]| {
            *genotype != memory.current
                && !offspring.contains(genotype)
                && !memory.is_rejected(genotype)
        };
        let drawn = (0..DRAWS).find_map(|draw| {
            let temperature = match draw {
                0 => PROPOSALS[idx % PROPOSALS.len()].1,
                _ => PROPOSALS[idx % PROPOSALS.len()].1.max(LEAST_OF_OTHER_DRAWS),
            };
            let sampled = posterior.sample(temperature, rng);
            let count = PROPOSALS[(idx + draw) % PROPOSALS.len()].0.min(largest);
            let made = Draft::new(space, surrogate, &sampled, &memory.current).exchange(count);
            Some(made).filter(|made| is_new(made, &offspring))
        });
        let made = drawn.or_else(|| {
            (0..DRAWS)
                .map(|_| mutation::mutate(space, &memory.current, rng))
                .find(|made| is_new(made, &offspring))
        });
        offspring.extend(made);
    }
    if offspring.is_empty() {
        // Everything near was tried: once more, on other sequences.
        let again = memory.rejected.choose(rng);
        offspring.extend(again.map(|(genotype, _)| genotype.clone()));
    }
    offspring
}

/// A genotype in the making.
struct Draft<'a> {
    space: &'a SearchSpace,
    surrogate: &'a Surrogate,
    sampled: &'a Sampled,
    genotype: Genotype,
    /// By unit: the step from the origin, if any.
    steps: Vec<Option<usize>>,
}

/// A unit's way to another level, and what it does.
#[derive(Debug, Clone, Copy)]
struct Change {
    unit_idx: usize,
    level: u16,
    loss: f64,
    cost: i64,
}

impl<'a> Draft<'a> {
    fn new(
        space: &'a SearchSpace,
        surrogate: &'a Surrogate,
        sampled: &'a Sampled,
        genotype: &Genotype,
    ) -> Self {
        let units = genotype.0.iter().enumerate();
        Self {
            space,
            surrogate,
            sampled,
            genotype: genotype.clone(),
            steps: units
                .map(|(idx, &level)| surrogate.step(idx, level))
                .collect(),
        }
    }

    /// Makes up to `count` exchanges, each the most promising that is left, as long as they promise anything. The first is made in any case.
    fn exchange(mut self, count: usize) -> Genotype {
        for idx in 0..count {
            let groups = self.space.groups();
            let found = groups.iter().filter_map(|group| self.best_exchange(group));
            let best = found.min_by(|a, b| a.0.total_cmp(&b.0));
            match best {
                Some((loss, changes)) if loss < 0.0 || idx == 0 => {
                    for (unit_idx, level) in changes {
                        self.set(unit_idx, level);
                    }
                }
                _ => break,
            }
        }
        self.genotype
    }

    /// The exchange within a group that promises most: one unit raised and as many lowered as that takes; then what the budget has left
    /// is used. None where there is none.
    fn best_exchange(&self, group: &Group) -> Option<(f64, Vec<(usize, u16)>)> {
        let mut raised = self.changes(group, true);
        raised.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        raised.truncate(RAISED);
        let tried = raised.into_iter().filter_map(|raise| {
            let mut draft = self.copy();
            draft.set(raise.unit_idx, raise.level);
            let mut loss = raise.loss;
            let mut made = vec![(raise.unit_idx, raise.level)];
            loop {
                let cost = self.space.cost(&draft.genotype, group) as i64;
                let excess = cost - group.max_cost as i64;
                if excess <= 0 {
                    break;
                }
                let change = draft.cheapest_saving(group, excess, raise.unit_idx)?;
                loss += change.loss;
                draft.set(change.unit_idx, change.level);
                made.push((change.unit_idx, change.level));
            }
            Some((loss, made))
        });
        tried.min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The lowering that loses least for what it saves of an excess.
    fn cheapest_saving(&self, group: &Group, excess: i64, but: usize) -> Option<Change> {
        let price = |change: &Change| {
            let saved = (-change.cost).min(excess) as f64 / excess as f64;
            // What promises to gain is best where it gains most, what loses where it loses least for what it saves.
            match change.loss < 0.0 {
                true => change.loss,
                false => change.loss / saved,
            }
        };
        let changes = self.changes(group, false).into_iter();
        changes
            .filter(|change| change.unit_idx != but)
            .min_by(|a, b| price(a).total_cmp(&price(b)))
    }

    /// Every way up, or down, of the group's units within the surrogate's steps.
    fn changes(&self, group: &Group, raise: bool) -> Vec<Change> {
        let units = group.unit_idxs.iter().copied();
        let units = units.filter(|&idx| !self.space.is_idle(&self.genotype, idx));
        let mut changes = Vec::new();
        for unit_idx in units {
            let now = self.genotype.0[unit_idx];
            for level in self.surrogate.levels(unit_idx) {
                let is_that_way = if raise { level < now } else { level > now };
                if !is_that_way {
                    continue;
                }
                let cost = self.space.change(&self.genotype, unit_idx, level.into());
                if (cost > 0) == raise && cost != 0 {
                    changes.push(Change {
                        unit_idx,
                        level,
                        loss: self.loss(unit_idx, level),
                        cost,
                    });
                }
            }
        }
        changes
    }

    /// What the unit's way to a level does to the predicted loss, beside all steps that the draft has taken.
    fn loss(&self, unit_idx: usize, level: u16) -> f64 {
        let (old, new) = (self.steps[unit_idx], self.surrogate.step(unit_idx, level));
        let alone = |step: Option<usize>| step.map_or(0.0, |idx| self.sampled.step(idx));
        let together = |a: Option<usize>, b: Option<usize>| match (a, b) {
            (Some(a), Some(b)) => {
                let term = self.surrogate.together(a, b);
                self.sampled.factor(term) * self.surrogate.gram(a, b)
            }
            _ => 0.0,
        };
        let others = self.steps.iter().enumerate();
        let others = others.filter(|(idx, _)| *idx != unit_idx);
        let crossed: f64 = others
            .map(|(_, &other)| together(new, other) - together(old, other))
            .sum();
        alone(new) - alone(old) + crossed
    }

    fn set(&mut self, unit_idx: usize, level: u16) {
        self.genotype.0[unit_idx] = level;
        self.steps[unit_idx] = self.surrogate.step(unit_idx, level);
    }

    fn copy(&self) -> Self {
        Self {
            genotype: self.genotype.clone(),
            steps: self.steps.clone(),
            ..*self
        }
    }
}
