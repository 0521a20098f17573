//! Dynamic programming over errors of single layers: the best genotype there is, were a model's error the sum of its layers' errors. The paper's
//! section 2 shows that it is not; as a baseline this says what the search over whole models is worth.
//!
//! `min Σ_u error(u, level_u)` under each group's budget is a knapsack with one choice per unit: `best[b]` after u units is the least
//! error for at most b of cost beyond that of the cheapest levels.

use crate::genotype::{Genotype, Group, SearchSpace, WeightId};

/// Entries of the table, at most; finer costs are rounded up to it.
const MAX_BUCKETS: u64 = 20_000;

/// The sum of the relative errors of the weights that each unit puts in at each level; 0 for dense weights.
pub fn unit_errors(space: &SearchSpace, weight_error: &dyn Fn(WeightId) -> f64) -> Vec<Vec<f64>> {
    let error = |unit_idx: usize, level: usize| {
        let weights = space.weights(unit_idx, level).into_iter();
        weights.map(weight_error).sum()
    };
    space
        .units()
        .iter()
        .enumerate()
        .map(|(idx, unit)| (0..unit.levels.len()).map(|l| error(idx, l)).collect())
        .collect()
}

/// The genotype with the least sum of `errors`, by unit and level, within the budget. None where costs do not add up because sub-blocks
/// can be dropped as well. An error that is not a number counts as infinite.
///
/// # Panics
/// Where `errors` lacks a unit or a level.
pub fn dynamic_programming(space: &SearchSpace, errors: &[Vec<f64>]) -> Option<Genotype> {
    let drops = (0..space.units().len()).any(|idx| space.only_drops(idx));
    if drops && space.is_in_bytes() {
        return None;
    }
    let mut genotype = space.min_cost_genotype();
    for group in space.groups() {
        solve(space, group, errors, &mut genotype);
        spend_rest(space, group, errors, &mut genotype);
    }
    debug_assert!(space.meets_budget(&genotype));
    Some(genotype)
}

/// Chooses the levels of one group's units.
fn solve(space: &SearchSpace, group: &Group, errors: &[Vec<f64>], genotype: &mut Genotype) {
    let extra: Vec<Vec<u64>> = group
        .unit_idxs
        .iter()
        .map(|&idx| extra_costs(space, idx))
        .collect();
    let most: u64 = extra.iter().filter_map(|unit| unit.iter().max()).sum();
    let allowed = most.min(group.max_cost - space.cost(genotype, group));
    let bucket = match extra.iter().flatten().fold(0, |a, &b| gcd(a, b)).max(1) {
        exact if allowed / exact <= MAX_BUCKETS => exact,
        _ => allowed.div_ceil(MAX_BUCKETS),
    };
    let num_buckets = (allowed / bucket) as usize + 1;
    let mut best = vec![0.0_f64; num_buckets];
    let mut chosen: Vec<Vec<u16>> = Vec::with_capacity(extra.len());
    for (extra, &unit_idx) in extra.iter().zip(&group.unit_idxs) {
        let mut next = vec![f64::INFINITY; num_buckets];
        let mut level_at = vec![(extra.len() - 1) as u16; num_buckets];
        for (level, &cost) in extra.iter().enumerate() {
            let error = known(errors[unit_idx][level]);
            let cost = cost.div_ceil(bucket) as usize;
            for spent in cost..num_buckets {
                let sum = best[spent - cost] + error;
                if sum < next[spent] {
                    next[spent] = sum;
                    level_at[spent] = level as u16;
                }
            }
        }
        best = next;
        chosen.push(level_at);
    }
    let mut left = num_buckets - 1;
    for ((extra, level_at), &unit_idx) in extra.iter().zip(&chosen).zip(&group.unit_idxs).rev() {
        let level = level_at[left];
        genotype.0[unit_idx] = level;
        left -= extra[usize::from(level)].div_ceil(bucket) as usize;
    }
}

/// What rounding left of the budget goes, level by level, where it lowers the errors most.
fn spend_rest(space: &SearchSpace, group: &Group, errors: &[Vec<f64>], genotype: &mut Genotype) {
    loop {
        let slack = (group.max_cost - space.cost(genotype, group)) as i64;
        let raises = group.unit_idxs.iter().flat_map(|&idx| {
            let now = known(errors[idx][genotype.level(idx)]);
            (0..genotype.level(idx)).map(move |level| (idx, level, now - known(errors[idx][level])))
        });
        let best = raises
            .filter(|(idx, level, gain)| {
                *gain > 0.0 && space.change(genotype, *idx, *level) <= slack
            })
            .max_by(|a, b| a.2.total_cmp(&b.2));
        match best {
            Some((idx, level, _)) => genotype.0[idx] = level as u16,
            None => return,
        }
    }
}

/// By level: the cost beyond that of the unit's cheapest level.
fn extra_costs(space: &SearchSpace, unit_idx: usize) -> Vec<u64> {
    let levels = &space.units()[unit_idx].levels;
    let least = levels.last().map_or(0, |level| level.cost);
    levels.iter().map(|level| level.cost - least).collect()
}

fn known(error: f64) -> f64 {
    if error.is_nan() { f64::INFINITY } else { error }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
