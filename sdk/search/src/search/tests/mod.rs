use evopress_plugin::{Edit, GroupBudget, Level, ModelOutline, SubBlock, Unit};
use proptest::prelude::*;

use super::mutation::mutate;
use super::start::random_genotype;
use super::*;
use crate::error::{Result, SearchError};
use crate::fitness::{Fitness, draw_minibatch};
use crate::genotype::{Genotype, SearchSpace};
use crate::random::{Purpose, stream};

mod layers;

fn outline() -> ModelOutline {
    ModelOutline {
        num_blocks: 1,
        layers: vec![],
        bytes_per_weight: 2,
    }
}

/// `num_units` units of `num_levels` levels in one group; level l of unit u costs `(num_levels − 1
/// − l) · step`.
fn space(num_units: usize, num_levels: usize, step: u64, max_cost: u64) -> SearchSpace {
    let unit = |u: usize| Unit {
        name: format!("unit {u}"),
        group: "all".into(),
        block_idx: 0,
        layer_idxs: vec![],
        calibration_level: 0,
        levels: (0..num_levels)
            .map(|l| Level {
                name: l.to_string(),
                cost: (num_levels - 1 - l) as u64 * step,
                edits: if l == 0 {
                    vec![]
                } else {
                    vec![Edit::drop(0, SubBlock::Mlp)]
                },
            })
            .collect(),
    };
    let budget = GroupBudget {
        group: "all".into(),
        max_cost,
    };
    SearchSpace::with_budgets(&outline(), (0..num_units).map(unit).collect(), &[budget]).unwrap()
}

/// The loss is the distance to a hidden genotype, with noise that depends on the minibatch alone.
struct Hidden {
    wanted: Vec<u16>,
    evaluated: usize,
    stop_after: usize,
}

impl Hidden {
    fn new(wanted: &[u16]) -> Self {
        Self {
            wanted: wanted.to_vec(),
            evaluated: 0,
            stop_after: usize::MAX,
        }
    }
}

impl Fitness for Hidden {
    fn num_sequences(&self) -> usize {
        16
    }

    fn losses(&mut self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<Vec<f64>>> {
        self.evaluated += genotypes.len();
        if self.evaluated > self.stop_after {
            return Err(SearchError::Interrupted);
        }
        let noise = |sequence_idx: &usize| *sequence_idx as f64 * 1e-3;
        let distance = |genotype: &Genotype| -> f64 {
            genotype
                .0
                .iter()
                .zip(&self.wanted)
                .map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs())
                .sum()
        };
        Ok(genotypes
            .iter()
            .map(|genotype| {
                let distance = distance(genotype);
                let losses = minibatch.iter().map(|idx| distance + noise(idx));
                losses.collect()
            })
            .collect())
    }
}

fn settings(generations: u32, seed: u64) -> Settings {
    Settings {
        generations,
        offspring: 8,
        initial_genotypes: 8,
        initial_sequences: 2,
        stages: vec![
            SelectionStage {
                num_sequences: 2,
                survivors: 2,
            },
            SelectionStage {
                num_sequences: 4,
                survivors: 1,
            },
        ],
        seed,
    }
}

fn search(space: &SearchSpace, fitness: &mut Hidden, settings: &Settings) -> SearchState {
    let start = initial(space, fitness, settings, &[]).unwrap();
    run(space, fitness, settings, start, |_| Ok(())).unwrap()
}

#[test]
fn finds_the_hidden_genotype() {
    let wanted = [0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1];
    let space = space(12, 2, 1, 6);
    for seed in 0..5 {
        let mut fitness = Hidden::new(&wanted);
        assert_eq!(
            search(&space, &mut fitness, &settings(30, seed)).parent.0,
            wanted,
            "seed {seed}"
        );
    }
}

#[test]
fn the_parent_survives_where_nothing_is_better() {
    let wanted = [1, 1, 1, 0, 0, 0];
    let space = space(6, 2, 1, 3);
    let mut fitness = Hidden::new(&wanted);
    let start = SearchState {
        generation: 0,
        parent: Genotype(wanted.to_vec()),
        fitness: 0.0,
        accepted: true,
    };
    run(&space, &mut fitness, &settings(10, 1), start, |state| {
        assert_eq!(state.parent.0, wanted);
        assert!(!state.accepted);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_search_that_was_cut_off_anywhere_ends_the_same() {
    let wanted = [1, 0, 2, 1, 0, 2, 1, 1, 0, 2];
    let space = space(10, 3, 2, 20);
    let settings = settings(12, 7);
    let undisturbed = search(&space, &mut Hidden::new(&wanted), &settings);
    for stop_after in (9..130).step_by(7) {
        let mut fitness = Hidden::new(&wanted);
        let mut saved = initial(&space, &mut fitness, &settings, &[]).unwrap();
        fitness.stop_after = stop_after;
        let start = saved.clone();
        let cut = run(&space, &mut fitness, &settings, start, |state| {
            saved = state.clone();
            Ok(())
        });
        assert!(cut.is_err());
        let text = serde_json::to_string(&saved).unwrap();
        let resumed = serde_json::from_str(&text).unwrap();
        let ended = run(
            &space,
            &mut Hidden::new(&wanted),
            &settings,
            resumed,
            |_| Ok(()),
        )
        .unwrap();
        assert_eq!(ended, undisturbed, "cut off after {stop_after} evaluations");
    }
}

#[test]
fn a_minibatch_holds_different_sequences_and_another_generation_draws_others() {
    let fitness = Hidden::new(&[]);
    let draws: Vec<Vec<usize>> = (1..6)
        .map(|g| draw_minibatch(&fitness, 3, g, Purpose::Minibatch(0), 6))
        .collect();
    assert!(
        draws
            .iter()
            .all(|draw| draw.windows(2).all(|pair| pair[0] < pair[1]) && draw.len() == 6)
    );
    assert!(draws.windows(2).any(|pair| pair[0] != pair[1]));
    assert_eq!(
        draw_minibatch(&fitness, 3, 1, Purpose::Minibatch(0), 99).len(),
        16
    );
}

proptest! {
    #[test]
    fn every_genotype_meets_the_budget(
        num_units in 2_usize..20, num_levels in 2_usize..6, step in 1_u64..4, share in 0.0_f64..1.0, seed in any::<u64>(),
    ) {
        let dense = num_units as u64 * (num_levels - 1) as u64 * step;
        let space = space(num_units, num_levels, step, (dense as f64 * share) as u64);
        let mut rng = stream(seed, 1, Purpose::Mutation);
        let mut genotype = random_genotype(&space, &mut rng);
        prop_assert!(space.meets_budget(&genotype));
        let cost = space.cost(&genotype, &space.groups()[0]);
        for _ in 0..50 {
            genotype = mutate(&space, &genotype, &mut rng);
            prop_assert!(space.meets_budget(&genotype));
            prop_assert_eq!(space.cost(&genotype, &space.groups()[0]), cost, "equal steps keep the cost");
        }
    }

    #[test]
    fn mutations_keep_to_their_group(seed in any::<u64>()) {
        let unit = |group: &str, u: usize| Unit {
            name: format!("{group} {u}"),
            group: group.into(),
            block_idx: 0,
            layer_idxs: vec![],
            calibration_level: 0,
            levels: (0..2).map(|l| Level { name: l.to_string(), cost: 1 - l, edits: vec![] }).collect(),
        };
        let units = (0..10).map(|u| unit(if u % 2 == 0 { "a" } else { "b" }, u)).collect();
        let budgets = [GroupBudget { group: "a".into(), max_cost: 3 }, GroupBudget { group: "b".into(), max_cost: 1 }];
        let space = SearchSpace::with_budgets(&outline(), units, &budgets).unwrap();
        let mut rng = stream(seed, 1, Purpose::Mutation);
        let mut genotype = random_genotype(&space, &mut rng);
        for _ in 0..20 {
            genotype = mutate(&space, &genotype, &mut rng);
            let costs: Vec<u64> = space.groups().iter().map(|group| space.cost(&genotype, group)).collect();
            prop_assert_eq!(costs, [3, 1]);
        }
    }
}
