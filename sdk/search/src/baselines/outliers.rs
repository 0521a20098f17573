//! Outlier-weighed layerwise sparsity (OWL, Yin et al. 2024): blocks with more outliers keep more
//! weights.

use crate::genotype::{Genotype, Group, SearchSpace};

/// How far, at the mean, a block's density may lie from the target's, λ of the paper.
const LAMBDA: f64 = 0.08;

/// OWL's genotype. `outlier_ratios` has, by layer of the outline, the share of weights that are
/// outliers. With `D_b` the share in block b, its density is `2 λ (D_b − min D) / (max D − min D)`,
/// shifted so that the mean over all weights is the budget's; each unit takes the level nearest to
/// its block's density, and what rounding has made of the budget is mended where it strays least
/// from that. None where the target is not a sparsity.
///
/// # Panics
/// Where `outlier_ratios` lacks a layer.
pub fn owl(space: &SearchSpace, outlier_ratios: &[f64]) -> Option<Genotype> {
    if space.measure() != "sparsity" {
        return None;
    }
    let all: Vec<usize> = (0..space.units().len()).collect();
    let density =
        |group: &Group| group.max_cost as f64 / space.num_weights(&group.unit_idxs) as f64;
    let offsets = offsets(space, &all, outlier_ratios);
    let mut genotype = space.min_cost_genotype();
    for group in space.groups() {
        let wanted = |idx: usize| {
            let block_idx = space.units()[idx].block_idx as usize;
            (density(group) + offsets[block_idx]).clamp(0.0, 1.0)
        };
        let surplus = |idx: usize, level: usize| density_at(space, idx, level) - wanted(idx);
        for &idx in &group.unit_idxs {
            let levels = 0..space.units()[idx].levels.len();
            let nearest =
                levels.min_by(|&a, &b| surplus(idx, a).abs().total_cmp(&surplus(idx, b).abs()));
            genotype.0[idx] = nearest.unwrap_or(0) as u16;
        }
        mend(space, group, &surplus, &mut genotype);
    }
    debug_assert!(space.meets_budget(&genotype));
    Some(genotype)
}

/// By block: its density less the mean.
fn offsets(space: &SearchSpace, unit_idxs: &[usize], outlier_ratios: &[f64]) -> Vec<f64> {
    let mut weights = vec![0.0; space.num_blocks()];
    let mut outliers = vec![0.0; space.num_blocks()];
    for &unit_idx in unit_idxs {
        for &layer_idx in &space.units()[unit_idx].layer_idxs {
            let layer = &space.outline().layers[layer_idx as usize];
            let num_weights = layer.num_weights() as f64;
            weights[layer.block_idx as usize] += num_weights;
            outliers[layer.block_idx as usize] += outlier_ratios[layer_idx as usize] * num_weights;
        }
    }
    let ratios: Vec<Option<f64>> = outliers
        .iter()
        .zip(&weights)
        .map(|(outliers, weights)| (*weights > 0.0).then(|| outliers / weights))
        .collect();
    let known = || ratios.iter().flatten().copied();
    let least = known().fold(f64::INFINITY, f64::min);
    let most = known().fold(f64::NEG_INFINITY, f64::max);
    let span = if most > least { most - least } else { 1.0 };
    let scaled: Vec<f64> = ratios
        .iter()
        .map(|ratio| ratio.map_or(0.0, |ratio| 2.0 * LAMBDA * (ratio - least) / span))
        .collect();
    let sum: f64 = scaled.iter().zip(&weights).map(|(s, w)| s * w).sum();
    let mean = sum / weights.iter().sum::<f64>();
    scaled.iter().map(|scaled| scaled - mean).collect()
}

/// Share of a unit's weights that a level keeps.
fn density_at(space: &SearchSpace, unit_idx: usize, level: usize) -> f64 {
    let cost = space.units()[unit_idx].levels[level].cost;
    cost as f64 / space.num_weights(&[unit_idx]) as f64
}

/// Lowers the units with the largest surplus until the budget is met, then raises those with the
/// least while one fits.
fn mend(
    space: &SearchSpace,
    group: &Group,
    surplus: &dyn Fn(usize, usize) -> f64,
    genotype: &mut Genotype,
) {
    while space.cost(genotype, group) > group.max_cost {
        let lowered = group
            .unit_idxs
            .iter()
            .map(|&idx| (idx, genotype.level(idx) + 1))
            .filter(|&(idx, level)| level < space.units()[idx].levels.len())
            .max_by(|a, b| surplus(a.0, a.1).total_cmp(&surplus(b.0, b.1)));
        let (idx, level) =
            lowered.expect("`SearchSpace::new` checked that the cheapest levels meet the budget");
        genotype.0[idx] = level as u16;
    }
    loop {
        let slack = (group.max_cost - space.cost(genotype, group)) as i64;
        let raised = group
            .unit_idxs
            .iter()
            .filter(|&&idx| genotype.level(idx) > 0)
            .map(|&idx| (idx, genotype.level(idx) - 1))
            .filter(|&(idx, level)| space.cost_change(genotype, idx, level) <= slack)
            .min_by(|a, b| surplus(a.0, a.1).total_cmp(&surplus(b.0, b.1)));
        match raised {
            Some((idx, level)) => genotype.0[idx] = level as u16,
            None => return,
        }
    }
}
