//! Dynamic programming over errors of single layers: the best genotype there is, were a model's
//! error the sum of its layers' errors. The paper's section 2 shows that it is not; as a baseline
//! this says what the search over whole models is worth.
//!
//! `min Σ_u error(u, level_u)` under each group's budget is a knapsack with one choice per unit:
//! `best[b]` after u units is the least error for at most b of cost beyond that of the cheapest
//! levels.

use crate::genotype::{Genotype, Group, SearchSpace, WeightId};

/// Entries of the table, at most; finer costs are rounded up to it.
const MAX_BUCKETS: u64 = 20_000;

/// The sum of the relative errors of the weights that each unit puts in at each level; 0 for dense
/// weights.
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

/// The genotype with the least sum of `errors`, by unit and level, within the budget. None where
/// costs do not add up because sub-blocks can be dropped as well. An error that is not a number
/// counts as infinite.
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
    // The levels chosen at every entry of every unit would be hundreds of megabytes for tens of
    // thousands of units. So only the table before each segment of units is kept on the way there,
    // and a segment's choices are made again on the way back.
    let units: Vec<Unit<'_>> = extra
        .iter()
        .zip(&group.unit_idxs)
        .map(|(extra, &unit_idx)| Unit {
            unit_idx,
            costs: extra
                .iter()
                .map(|cost| cost.div_ceil(bucket) as usize)
                .collect(),
            errors: &errors[unit_idx],
        })
        .collect();
    let segments: Vec<&[Unit<'_>]> = units.chunks(units.len().isqrt().max(1)).collect();
    let mut before = vec![vec![0.0_f64; num_buckets]];
    for segment in &segments[..segments.len().saturating_sub(1)] {
        let table = before.last().expect("there is a table before the first");
        let after = segment
            .iter()
            .fold(table.clone(), |best, unit| unit.extend(&best).0);
        before.push(after);
    }
    let mut left = num_buckets - 1;
    for (segment, mut best) in segments.into_iter().zip(before).rev() {
        let mut chosen: Vec<Vec<u16>> = Vec::with_capacity(segment.len());
        for unit in segment {
            let (next, level_at) = unit.extend(&best);
            best = next;
            chosen.push(level_at);
        }
        for (unit, level_at) in segment.iter().zip(&chosen).rev() {
            let level = level_at[left];
            genotype.0[unit.unit_idx] = level;
            left -= unit.costs[usize::from(level)];
        }
    }
}

/// A unit of the knapsack.
struct Unit<'a> {
    unit_idx: usize,
    /// By level: entries of the table beyond the cheapest level.
    costs: Vec<usize>,
    /// By level.
    errors: &'a [f64],
}

impl Unit<'_> {
    /// The least errors with this unit beside those of `best`, and the level that each takes.
    fn extend(&self, best: &[f64]) -> (Vec<f64>, Vec<u16>) {
        let mut next = vec![f64::INFINITY; best.len()];
        let mut level_at = vec![(self.costs.len() - 1) as u16; best.len()];
        for (level, (&cost, &error)) in self.costs.iter().zip(self.errors).enumerate() {
            let error = known(error);
            for spent in cost..best.len() {
                let sum = best[spent - cost] + error;
                if sum < next[spent] {
                    next[spent] = sum;
                    level_at[spent] = level as u16;
                }
            }
        }
        (next, level_at)
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
                *gain > 0.0 && space.cost_change(genotype, *idx, *level) <= slack
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
