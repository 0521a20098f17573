//! The paper's mutation: genotypes out of other genotypes, all of them within the budget.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::fill::{CostedChange, fill};
use crate::genotype::{Genotype, Group, SearchSpace};

/// A mutated copy of `parent`: `min(U1, U2)` level switches, U1 and U2 uniform on {1, 2, 3}, each
/// within a group that is drawn by its number of units. What a switch leaves of the budget is
/// filled up again.
pub(crate) fn mutate(space: &SearchSpace, parent: &Genotype, rng: &mut impl Rng) -> Genotype {
    let mut genotype = parent.clone();
    let num_switches = rng.random_range(1..=3).min(rng.random_range(1..=3));
    for _ in 0..num_switches {
        let unit_idx = rng.random_range(0..space.units().len());
        let mut groups = space.groups().iter();
        if let Some(group) = groups.find(|group| group.unit_idxs.contains(&unit_idx)) {
            switch_levels(space, group, &mut genotype, rng);
            fill(space, group, &group.unit_idxs, &mut genotype, rng);
        }
    }
    debug_assert!(space.meets_budget(&genotype));
    genotype
}

/// One level switch: one unit is raised by a level and another lowered, so that the budget stays
/// met. Where all levels differ by the same cost, that is the paper's switch whichever comes first.
/// Elsewhere a coin decides: lowered first, it pays for something that it can pay for; raised
/// first, it is paid for by as many as it takes. Another coin decides whether sub-blocks that are
/// dropped and weights that are compressed go together, or each with its own kind where it has
/// some: otherwise hardly any switch would swap one dropped sub-block for another, and many small
/// changes would pay for one. Nothing happens where no units allow a switch.
fn switch_levels(space: &SearchSpace, group: &Group, genotype: &mut Genotype, rng: &mut impl Rng) {
    let mut tried = LevelSwitch {
        space,
        group,
        cost: space.cost(genotype, group) as i64,
        genotype: genotype.clone(),
        lowered: Vec::new(),
        keeps_to_kind: rng.random(),
    };
    let is_done = match rng.random() {
        true => tried.lower_then_raise(rng),
        false => tried.raise_then_lower(rng),
    };
    if is_done.is_some() {
        *genotype = tried.genotype;
    }
}

/// A level switch in the making.
struct LevelSwitch<'a> {
    space: &'a SearchSpace,
    group: &'a Group,
    genotype: Genotype,
    cost: i64,
    /// Units that have been lowered, and are not raised again.
    lowered: Vec<usize>,
    /// Whether units pay for others of their kind where they can.
    keeps_to_kind: bool,
}

impl LevelSwitch<'_> {
    fn lower_then_raise(&mut self, rng: &mut impl Rng) -> Option<()> {
        let mut first = None;
        loop {
            let lowered = self.partner(first, &self.changes(true, |_| true), rng)?;
            first = first.or(Some(lowered.change.unit_idx));
            self.make(lowered);
            let payable = self.changes(false, |raise| {
                self.cost + raise.cost <= self.group.max_cost as i64
                    && !self.lowered.contains(&raise.change.unit_idx)
            });
            let unit_idx = lowered.change.unit_idx;
            if let Some(raise) = self.partner(Some(unit_idx), &payable, rng) {
                self.make(raise);
                return Some(());
            }
        }
    }

    fn raise_then_lower(&mut self, rng: &mut impl Rng) -> Option<()> {
        let raised = *self.changes(false, |_| true).choose(rng)?;
        self.make(raised);
        loop {
            let unit_idx = raised.change.unit_idx;
            let lowered = self.changes(true, |lower| lower.change.unit_idx != unit_idx);
            let lower = self.partner(Some(unit_idx), &lowered, rng)?;
            self.make(lower);
            if self.cost <= self.group.max_cost as i64 {
                return Some(());
            }
        }
    }

    /// Every change to a next lower, or higher, level of a unit whose level makes a difference,
    /// where it `is_allowed`.
    fn changes(
        &self,
        lower: bool,
        is_allowed: impl Fn(&CostedChange) -> bool,
    ) -> Vec<CostedChange> {
        let mut changes = Vec::with_capacity(self.group.unit_idxs.len());
        let dropped = self.space.dropped_experts(&self.genotype);
        for &unit_idx in &self.group.unit_idxs {
            if self.space.is_idle(&self.genotype, unit_idx) {
                continue;
            }
            let now = self.genotype.level(unit_idx);
            let levels = self.space.next_levels(unit_idx, now, lower);
            let levels = levels.filter(|&level| {
                let space = self.space;
                space.keeps_active_experts(&dropped, &self.genotype, unit_idx, level)
            });
            let costed =
                levels.map(|level| CostedChange::new(self.space, &self.genotype, unit_idx, level));
            changes.extend(costed.filter(&is_allowed));
        }
        changes
    }

    /// A random one of `changes` to go with that of a unit.
    fn partner(
        &self,
        unit_idx: Option<usize>,
        changes: &[CostedChange],
        rng: &mut impl Rng,
    ) -> Option<CostedChange> {
        if let Some(unit_idx) = unit_idx.filter(|_| self.keeps_to_kind) {
            let only_drops = self.space.only_drops(unit_idx);
            let is_kin =
                |it: &&CostedChange| self.space.only_drops(it.change.unit_idx) == only_drops;
            let kin: Vec<CostedChange> = changes.iter().filter(is_kin).copied().collect();
            if !kin.is_empty() {
                return kin.choose(rng).copied();
            }
        }
        changes.choose(rng).copied()
    }

    fn make(&mut self, costed: CostedChange) {
        let change = costed.change;
        self.cost += costed.cost;
        if self.genotype.level(change.unit_idx) < change.level {
            self.lowered.push(change.unit_idx);
        }
        self.genotype.0[change.unit_idx] = change.level as u16;
    }
}
