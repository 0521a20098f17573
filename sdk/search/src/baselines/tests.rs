use evopress_plugin::{GroupBudget, Level, Method, ModelOutline, Unit};
use proptest::prelude::*;

use super::all::of_layers;
use super::*;
use crate::fixtures::{Bits, Drops, Sparse, measure, space};
use crate::genotype::{Budget, Genotype, Grouping, SearchSpace};

const BITS: Bits = Bits(&[2, 3, 4, 6]);
const SPARSE: Sparse = Sparse { num_steps: 3 };

/// Units of one group with these costs by level.
fn knapsack(costs: &[Vec<u64>], max_cost: u64) -> Option<SearchSpace> {
    let unit = |(idx, costs): (usize, &Vec<u64>)| Unit {
        name: idx.to_string(),
        group: "all".into(),
        block_idx: 0,
        layer_idxs: vec![],
        calibration_level: 0,
        levels: costs
            .iter()
            .map(|&cost| Level {
                name: cost.to_string(),
                cost,
                edits: vec![],
            })
            .collect(),
    };
    let outline = ModelOutline {
        num_blocks: 1,
        layers: vec![],
        bytes_per_weight: 2,
    };
    let budget = GroupBudget {
        group: "all".into(),
        max_cost,
    };
    let units = costs.iter().enumerate().map(unit).collect();
    SearchSpace::with_budgets(&outline, units, &[budget]).ok()
}

fn total(errors: &[Vec<f64>], genotype: &Genotype) -> f64 {
    let levels = genotype.0.iter().map(|&level| usize::from(level));
    errors
        .iter()
        .zip(levels)
        .map(|(unit, level)| unit[level])
        .sum()
}

/// The least sum of errors over every genotype within the budget.
fn least(space: &SearchSpace, errors: &[Vec<f64>]) -> f64 {
    let mut genotypes = vec![Genotype(vec![])];
    for unit in space.units() {
        genotypes = genotypes
            .iter()
            .flat_map(|genotype| {
                (0..unit.levels.len()).map(|level| {
                    let mut longer = genotype.clone();
                    longer.0.push(level as u16);
                    longer
                })
            })
            .collect();
    }
    genotypes
        .iter()
        .filter(|genotype| space.meets_budget(genotype))
        .map(|genotype| total(errors, genotype))
        .fold(f64::INFINITY, f64::min)
}

/// Falling costs of one unit, multiples of 3.
fn costs() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::btree_set(0_u64..40, 2..5)
        .prop_map(|costs| costs.into_iter().rev().map(|cost| cost * 3).collect())
}

proptest! {
    #[test]
    fn dynamic_programming_is_optimal(
        costs in prop::collection::vec(costs(), 1..6), share in 0.0..1.0_f64, seeds in prop::collection::vec(0.0..1.0_f64, 32),
    ) {
        let most: u64 = costs.iter().map(|unit| unit[0]).sum();
        if let Some(space) = knapsack(&costs, (most as f64 * share) as u64) {
            let mut seeds = seeds.iter().cycle();
            let errors: Vec<Vec<f64>> = costs
                .iter()
                .map(|unit| unit.iter().map(|_| *seeds.next().unwrap()).collect())
                .collect();
            let found = dynamic_programming(&space, &errors).unwrap();
            prop_assert!(space.meets_budget(&found));
            prop_assert!((total(&errors, &found) - least(&space, &errors)).abs() < 1e-9);
        }
    }

    #[test]
    fn rounded_costs_keep_the_budget(
        costs in prop::collection::vec(prop::collection::btree_set(0_u64..10_000_000, 2..5), 2..12), share in 0.0..1.0_f64,
    ) {
        let costs: Vec<Vec<u64>> = costs.into_iter().map(|unit| unit.into_iter().rev().collect()).collect();
        let most: u64 = costs.iter().map(|unit| unit[0]).sum();
        if let Some(space) = knapsack(&costs, (most as f64 * share) as u64) {
            let errors: Vec<Vec<f64>> = costs
                .iter()
                .map(|unit| unit.iter().map(|&cost| 1.0 / (1.0 + cost as f64)).collect())
                .collect();
            let found = dynamic_programming(&space, &errors).unwrap();
            prop_assert!(space.meets_budget(&found));
        }
    }

    #[test]
    fn owl_meets_the_budget(
        ratios in prop::collection::vec(0.0..0.1_f64, 28), sparsity in 0.45..0.55_f64, grouping in 0..4_usize,
    ) {
        let grouping = [Grouping::Size, Grouping::Name, Grouping::None, Grouping::Tied][grouping];
        let space = space(4, &[("s", &SPARSE)], &measure("sparsity", sparsity), Some(grouping)).unwrap();
        let found = owl(&space, &ratios).unwrap();
        prop_assert!(space.meets_budget(&found));
        // The finest step of any unit is 8 weights.
        for group in space.groups() {
            prop_assert!(group.max_cost - space.cost(&found, group) < 48 * 3, "{}", group.name);
        }
    }
}

#[test]
fn dynamic_programming_leaves_the_uniform_genotype_where_layers_differ() {
    let space = space(
        4,
        &[("gptq", &BITS)],
        &measure("bits_per_weight", 3.0),
        None,
    )
    .unwrap();
    let errors = unit_errors(&space, &|id| {
        // Layers of block 0 are ten times as sensitive; each bit quarters the error.
        let scale = if id.layer_idx < 7 { 10.0 } else { 1.0 };
        scale * 0.25_f64.powi(-i32::from(id.variant_idx))
    });
    assert_eq!((errors.len(), errors[0].len()), (28, 4));
    assert_eq!(errors[0][2], 160.0);
    let found = dynamic_programming(&space, &errors).unwrap();
    let uniform = space.uniform().unwrap();
    assert!(total(&errors, &found) < total(&errors, &uniform));
    assert!(found.0[..7].iter().sum::<u16>() < found.0[7..14].iter().sum::<u16>());
}

#[test]
fn errors_that_are_no_numbers_are_never_chosen_where_others_fit() {
    let space = knapsack(&[vec![4, 2, 0], vec![4, 2, 0]], 6).unwrap();
    let errors = [vec![f64::NAN, 1.0, 3.0], vec![0.0, 1.0, f64::NAN]];
    assert_eq!(dynamic_programming(&space, &errors).unwrap().0, [1, 0]);
}

#[test]
fn blocks_with_outliers_keep_more() {
    let space = space(
        4,
        &[("s", &SPARSE)],
        &measure("sparsity", 0.5),
        Some(Grouping::None),
    )
    .unwrap();
    let mut ratios = vec![0.01; 28];
    ratios[7..14].fill(0.05);
    let found = owl(&space, &ratios).unwrap();
    let kept = |block: usize| -> u64 {
        let units =
            (block * 7..block * 7 + 7).map(|idx| &space.units()[idx].levels[found.level(idx)]);
        units.map(|level| level.cost).sum()
    };
    // 0.5 + 3/4 · 2 λ = 0.62 of 3072 weights, of which the large layers have levels up to 0.5625.
    assert!((kept(1) as f64 / 3072.0 - 0.62).abs() < 0.06, "{}", kept(1));
    assert!(
        kept(1) > kept(0) && kept(0).abs_diff(kept(2)) <= 48,
        "{:?}",
        [0, 1, 2, 3].map(kept)
    );
    assert_eq!(
        space.cost(&found, &space.groups()[0]),
        space.groups()[0].max_cost
    );
}

#[test]
fn baselines_come_where_they_make_sense() {
    let names = |methods: &[(&str, &dyn Method)], budget: &Budget| -> Vec<String> {
        let space = space(4, methods, budget, None).unwrap();
        let ratios = vec![0.1; 28];
        let scores = Scores {
            weight_error: Some(&|id| f64::from(id.variant_idx)),
            outlier_ratios: Some(&ratios),
        };
        let found = of_layers(&space, &scores).into_iter();
        found.map(|baseline| baseline.name).collect()
    };
    let (gptq, drop): ((&str, &dyn Method), (&str, &dyn Method)) =
        (("gptq", &BITS), ("drop", &Drops));
    assert_eq!(
        names(&[gptq], &measure("bits_per_weight", 3.0)),
        ["uniform", "dynamic-programming"]
    );
    assert_eq!(
        names(&[("s", &SPARSE)], &measure("sparsity", 0.5)),
        ["uniform", "dynamic-programming", "owl"]
    );
    assert_eq!(
        names(&[gptq], &Budget::SizeBytes(12_000)),
        ["uniform", "dynamic-programming"]
    );
    assert_eq!(
        names(&[gptq, drop], &Budget::SizeBytes(12_000)),
        ["uniform"]
    );
    // Smaller than 2 bits everywhere: something has to be dropped.
    assert!(names(&[gptq, drop], &Budget::SizeBytes(9_000)).is_empty());
    assert!(names(&[drop], &measure("drop", 0.25)).is_empty());
}
