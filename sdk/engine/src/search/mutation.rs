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
/// first, it is paid for by as many as it takes. Nothing happens where no units allow either.
fn switch(space: &SearchSpace, group: &Group, genotype: &mut Genotype, rng: &mut impl Rng) {
    let mut tried = Switch {
        space,
        group,
        cost: space.cost(genotype, group) as i64,
        genotype: genotype.clone(),
        moved: Vec::new(),
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
    /// Units whose level has moved; none moves up and down.
    moved: Vec<usize>,
}

impl Switch<'_> {
    fn lower_then_raise(&mut self, rng: &mut impl Rng) -> Option<()> {
        let mut lowered = self.lowerable();
        loop {
            let &idx = lowered.choose(rng)?;
            self.step(idx, 1);
            let payable: Vec<usize> = self
                .raisable()
                .into_iter()
                .filter(|&idx| self.cost + self.change(idx, -1) <= self.group.max_cost as i64)
                .collect();
            if let Some(&idx) = payable.choose(rng) {
                self.step(idx, -1);
                return Some(());
            }
            lowered.retain(|&idx| self.can_lower(idx));
        }
    }

    fn raise_then_lower(&mut self, rng: &mut impl Rng) -> Option<()> {
        let &raised = self.raisable().choose(rng)?;
        self.step(raised, -1);
        loop {
            let mut lowered = self.lowerable();
            lowered.retain(|&idx| idx != raised);
            let &idx = lowered.choose(rng)?;
            self.step(idx, 1);
            if self.cost <= self.group.max_cost as i64 {
                return Some(());
            }
        }
    }

    fn step(&mut self, idx: usize, by: i16) {
        self.cost += self.change(idx, by);
        self.genotype.0[idx] = self.genotype.0[idx].wrapping_add_signed(by);
        self.moved.push(idx);
    }

    fn change(&self, idx: usize, by: i16) -> i64 {
        let level = self.genotype.0[idx].wrapping_add_signed(by);
        self.space.change(&self.genotype, idx, usize::from(level))
    }

    fn lowerable(&self) -> Vec<usize> {
        let units = self.group.unit_idxs.iter().copied();
        units.filter(|&idx| self.can_lower(idx)).collect()
    }

    fn can_lower(&self, idx: usize) -> bool {
        self.genotype.level(idx) + 1 < self.space.units()[idx].levels.len()
            && !self.space.is_idle(&self.genotype, idx)
    }

    fn raisable(&self) -> Vec<usize> {
        let units = self.group.unit_idxs.iter().copied();
        units
            .filter(|idx| self.genotype.0[*idx] > 0 && !self.moved.contains(idx))
            .filter(|&idx| !self.space.is_idle(&self.genotype, idx))
            .collect()
    }
}

/// Raises random ones of `unit_idxs`, all in `group`, to their next dearer level while one fits.
pub(crate) fn fill(
    space: &SearchSpace,
    group: &Group,
    unit_idxs: &[usize],
    genotype: &mut Genotype,
    rng: &mut impl Rng,
) {
    let mut slack = group.max_cost as i64 - space.cost(genotype, group) as i64;
    while slack > 0 {
        let raises: Vec<(usize, usize, i64)> = unit_idxs
            .iter()
            .filter_map(|&idx| dearer(space, genotype, idx))
            .filter(|(_, _, change)| *change <= slack)
            .collect();
        let Some(&(idx, level, change)) = raises.choose(rng) else {
            return;
        };
        genotype.0[idx] = level as u16;
        slack -= change;
    }
}

/// A unit's next level above that costs more, and how much more.
fn dearer(space: &SearchSpace, genotype: &Genotype, idx: usize) -> Option<(usize, usize, i64)> {
    let above = (0..genotype.level(idx)).rev();
    above
        .map(|level| (idx, level, space.change(genotype, idx, level)))
        .find(|(_, _, change)| *change > 0)
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
