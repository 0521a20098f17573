//! Genotypes out of nothing and out of other genotypes; all of them within the budget.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::genotype::{Genotype, Group, SearchSpace};

/// A random genotype: from the dense model, random units step down until every group is within its budget.
pub(crate) fn random(space: &SearchSpace, rng: &mut impl Rng) -> Genotype {
    let mut genotype = Genotype(vec![0; space.units().len()]);
    for group in space.groups() {
        let mut cost = space.cost(&genotype, group);
        let mut lowerable = group.unit_idxs.clone();
        while cost > group.max_cost {
            lowerable.shuffle(rng);
            let idx = *lowerable
                .last()
                .expect("`SearchSpace::new` checked that the cheapest levels meet the budget");
            cost -= step_cost(space, idx, genotype.0[idx]);
            genotype.0[idx] += 1;
            lowerable.retain(|&idx| can_lower(space, &genotype, idx));
        }
    }
    genotype
}

/// A mutated copy of `parent`: `min(U1, U2)` level switches, U1 and U2 uniform on {1, 2, 3}. Each raises the cost of one
/// unit and lowers that of another in the same group, so that the budget stays met.
pub(crate) fn mutate(space: &SearchSpace, parent: &Genotype, rng: &mut impl Rng) -> Genotype {
    let mut genotype = parent.clone();
    let num_switches = rng.random_range(1..=3).min(rng.random_range(1..=3));
    for _ in 0..num_switches {
        if let Some(group) = space.groups().choose(rng) {
            switch(space, group, &mut genotype, rng);
        }
    }
    debug_assert!(space.meets_budget(&genotype));
    genotype
}

/// One level switch; nothing happens where no pair of units allows one.
fn switch(space: &SearchSpace, group: &Group, genotype: &mut Genotype, rng: &mut impl Rng) {
    let lowerable: Vec<usize> = group
        .unit_idxs
        .iter()
        .copied()
        .filter(|&idx| can_lower(space, genotype, idx))
        .collect();
    let Some(&lowered) = lowerable.choose(rng) else {
        return;
    };
    let freed = step_cost(space, lowered, genotype.0[lowered]);
    let slack = group.max_cost - space.cost(genotype, group);
    let raisable: Vec<usize> = group
        .unit_idxs
        .iter()
        .copied()
        .filter(|&idx| idx != lowered && genotype.0[idx] > 0)
        .filter(|&idx| step_cost(space, idx, genotype.0[idx] - 1) <= freed + slack)
        .collect();
    let Some(&raised) = raisable.choose(rng) else {
        return;
    };
    genotype.0[lowered] += 1;
    genotype.0[raised] -= 1;
}

fn can_lower(space: &SearchSpace, genotype: &Genotype, idx: usize) -> bool {
    usize::from(genotype.0[idx]) + 1 < space.units()[idx].levels.len()
}

/// What a unit's cost falls by from `level` to the next.
fn step_cost(space: &SearchSpace, idx: usize, level: u16) -> u64 {
    let levels = &space.units()[idx].levels;
    levels[usize::from(level)].cost - levels[usize::from(level) + 1].cost
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
