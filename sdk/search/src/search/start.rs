//! Random genotypes to start from; all of them within the budget.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::fill::fill;
use crate::genotype::{Genotype, Group, SearchSpace};
use crate::random::{Purpose, stream};

/// At most this part of what can be dropped is dropped at random where weights are compressed too.
const LARGEST_DROPPED_PART: usize = 8;

/// A random genotype: from the highest uniform level within the budget (of a random method where
/// there are several), random units are raised until nothing fits. Where a group has nothing but
/// sub-blocks to drop, that is a uniformly random choice of those that stay.
pub(crate) fn random_genotype(space: &SearchSpace, rng: &mut impl Rng) -> Genotype {
    let mut genotype = space.max_cost_genotype();
    for group in space.groups() {
        let (drops, replaced): (Vec<usize>, Vec<usize>) = group
            .unit_idxs
            .iter()
            .partition(|&&idx| space.only_drops(idx));
        if replaced.is_empty() {
            for &idx in &drops {
                lower_fully(space, &mut genotype, idx);
            }
        } else {
            drop_some(space, group, drops, &replaced, &mut genotype, rng);
            fill(space, group, &replaced, &mut genotype, rng);
        }
        fill(space, group, &group.unit_idxs, &mut genotype, rng);
    }
    debug_assert!(space.meets_budget(&genotype));
    genotype
}

/// Drops a random few sub-blocks and takes the highest uniform level for the rest, or drops as many
/// as the budget needs with the rest at their cheapest levels.
fn drop_some(
    space: &SearchSpace,
    group: &Group,
    mut drops: Vec<usize>,
    replaced: &[usize],
    genotype: &mut Genotype,
    rng: &mut impl Rng,
) {
    drops.shuffle(rng);
    let num_dropped = rng.random_range(0..=drops.len() / LARGEST_DROPPED_PART);
    let mut drops = drops.into_iter();
    for idx in drops.by_ref().take(num_dropped) {
        lower_fully(space, genotype, idx);
    }
    space.restore_active_experts(genotype);
    let method_idx = space.methods(group).choose(rng).copied();
    if space.make_uniform(genotype, group, method_idx) || space.make_uniform(genotype, group, None)
    {
        return;
    }
    for &idx in replaced {
        lower_fully(space, genotype, idx);
    }
    while space.cost(genotype, group) > group.max_cost {
        let idx = drops
            .next()
            .expect("the cheapest levels meet the budget of every search space");
        lower_fully(space, genotype, idx);
        space.restore_active_experts(genotype);
    }
}

/// `count` different genotypes from `generate`, fewer if it repeats itself too often; none of them
/// is in `excluded`.
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

/// `count` different random genotypes within the budget, for the baseline.
pub(crate) fn random_genotypes(space: &SearchSpace, seed: u64, count: usize) -> Vec<Genotype> {
    let mut rng = stream(seed, 0, Purpose::RandomBaseline);
    distinct(count, &[], || random_genotype(space, &mut rng))
}

fn lower_fully(space: &SearchSpace, genotype: &mut Genotype, idx: usize) {
    genotype.0[idx] = (space.units()[idx].levels.len() - 1) as u16;
}
