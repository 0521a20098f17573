//! Genotypes out of other genotypes; all of them within the budget.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::genotype::{Genotype, Group, SearchSpace};

/// A mutated copy of `parent`: `min(U1, U2)` level switches, U1 and U2 uniform on {1, 2, 3}, each within a group that is drawn by its
/// number of units. What a switch leaves of the budget is filled up again.
pub(crate) fn mutate(space: &SearchSpace, parent: &Genotype, rng: &mut impl Rng) -> Genotype {
    let mut genotype = parent.clone();
    let num_switches = rng.random_range(1..=3).min(rng.random_range(1..=3));
    for _ in 0..num_switches {
        let unit_idx = rng.random_range(0..space.units().len());
        let mut groups = space.groups().iter();
        if let Some(group) = groups.find(|group| group.unit_idxs.contains(&unit_idx)) {
            switch(space, group, &mut genotype, rng);
            fill(space, group, &group.unit_idxs, &mut genotype, rng);
        }
    }
    debug_assert!(space.meets_budget(&genotype));
    genotype
}

/// One level switch: one unit is raised by a level and another lowered, so that the budget stays met. Where steps cost the same, that is
/// the paper's switch whichever comes first. Elsewhere a coin decides: lowered first, it pays for something that it can pay for; raised
/// first, it is paid for by as many as it takes. Another coin decides whether sub-blocks that are dropped and weights that are compressed
/// go together, or each with its own kind where it has some: otherwise hardly any switch would swap one dropped sub-block for another,
/// and many a small step would cost one. Nothing happens where no units allow a switch.
fn switch(space: &SearchSpace, group: &Group, genotype: &mut Genotype, rng: &mut impl Rng) {
    let mut tried = Switch {
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
struct Switch<'a> {
    space: &'a SearchSpace,
    group: &'a Group,
    genotype: Genotype,
    cost: i64,
    /// Units that have been lowered, and are not raised again.
    lowered: Vec<usize>,
    /// Whether units pay for others of their kind where they can.
    keeps_to_kind: bool,
}

/// A unit's move to a level, and what the group's cost grows by.
#[derive(Debug, Clone, Copy)]
struct Step {
    unit_idx: usize,
    level: usize,
    change: i64,
}

impl Switch<'_> {
    fn lower_then_raise(&mut self, rng: &mut impl Rng) -> Option<()> {
        let mut first = None;
        loop {
            let lowered = self.steps(true);
            let step = self.partner(first, &lowered, rng)?;
            first = first.or(Some(step.unit_idx));
            self.take(step);
            let mut payable = self.steps(false);
            payable.retain(|step| {
                self.cost + step.change <= self.group.max_cost as i64
                    && !self.lowered.contains(&step.unit_idx)
            });
            if let Some(step) = self.partner(Some(step.unit_idx), &payable, rng) {
                self.take(step);
                return Some(());
            }
        }
    }

    fn raise_then_lower(&mut self, rng: &mut impl Rng) -> Option<()> {
        let raised = *self.steps(false).choose(rng)?;
        self.take(raised);
        loop {
            let mut lowered = self.steps(true);
            lowered.retain(|step| step.unit_idx != raised.unit_idx);
            let step = self.partner(Some(raised.unit_idx), &lowered, rng)?;
            self.take(step);
            if self.cost <= self.group.max_cost as i64 {
                return Some(());
            }
        }
    }

    /// Every step down, or up, of a unit whose level makes a difference.
    fn steps(&self, lower: bool) -> Vec<Step> {
        let units = self.group.unit_idxs.iter().copied();
        units
            .filter(|&unit_idx| !self.space.is_idle(&self.genotype, unit_idx))
            .flat_map(|unit_idx| {
                let levels = self
                    .space
                    .next_levels(unit_idx, self.genotype.level(unit_idx), lower);
                levels.into_iter().map(move |level| Step {
                    unit_idx,
                    level,
                    change: self.space.change(&self.genotype, unit_idx, level),
                })
            })
            .collect()
    }

    /// A random one of `steps` to go with that of a unit.
    fn partner(&self, unit_idx: Option<usize>, steps: &[Step], rng: &mut impl Rng) -> Option<Step> {
        let is_kin = |step: &Step| {
            unit_idx.is_some_and(|unit_idx| {
                self.space.only_drops(step.unit_idx) == self.space.only_drops(unit_idx)
            })
        };
        let kin: Vec<Step> = steps.iter().copied().filter(is_kin).collect();
        match self.keeps_to_kind && !kin.is_empty() {
            true => kin.choose(rng).copied(),
            false => steps.choose(rng).copied(),
        }
    }

    fn take(&mut self, step: Step) {
        self.cost += step.change;
        if usize::from(self.genotype.0[step.unit_idx]) < step.level {
            self.lowered.push(step.unit_idx);
        }
        self.genotype.0[step.unit_idx] = step.level as u16;
    }
}

/// Raises random ones of `unit_idxs`, all in `group`, to their method's next dearer level while one fits. What method compresses a unit is
/// for switches to decide: this may raise many units at once, and some method may be bad for all of them.
pub(crate) fn fill(
    space: &SearchSpace,
    group: &Group,
    unit_idxs: &[usize],
    genotype: &mut Genotype,
    rng: &mut impl Rng,
) {
    let mut slack = group.max_cost as i64 - space.cost(genotype, group) as i64;
    while slack > 0 {
        let raises: Vec<Step> = unit_idxs
            .iter()
            .filter_map(|&unit_idx| dearer(space, genotype, unit_idx))
            .filter(|step| step.change <= slack)
            .collect();
        let Some(step) = raises.choose(rng) else {
            return;
        };
        genotype.0[step.unit_idx] = step.level as u16;
        slack -= step.change;
    }
}

/// The next level above of the same method that costs more.
fn dearer(space: &SearchSpace, genotype: &Genotype, unit_idx: usize) -> Option<Step> {
    let now = genotype.level(unit_idx);
    let method_idx = space.method_idx(unit_idx, now);
    (0..now)
        .rev()
        .filter(|&level| space.method_idx(unit_idx, level) == method_idx)
        .map(|level| Step {
            unit_idx,
            level,
            change: space.change(genotype, unit_idx, level),
        })
        .find(|step| step.change > 0)
}

/// `count` different genotypes from `generate`, fewer if it repeats itself too often; none of them is in `excluded`.
pub(crate) fn distinct(
    count: usize,
    excluded: &[&Genotype],
    mut generate: impl FnMut() -> Genotype,
) -> Vec<Genotype> {
    let mut found: Vec<Genotype> = Vec::with_capacity(count);
    for _ in 0..count * 100 {
        if found.len() == count {
            break;
        }
        let genotype = generate();
        if !found.contains(&genotype) && !excluded.contains(&&genotype) {
            found.push(genotype);
        }
    }
    found
}
