//! Searches over linear layers: unequal sizes, tied units, several methods.

use evopress_plugin::Method;
use proptest::prelude::*;
use rand::Rng;
use rand::seq::IndexedRandom;

use super::super::fill::fill;
use super::*;
use crate::baselines;
use crate::fixtures::{Bits, Drops, FIXED, Sparse, measure, space};
use crate::genotype::{Budget, Group, Grouping};

const BITS: Bits = Bits(&[2, 3, 4, 6]);
const SPARSE: Sparse = Sparse { num_steps: 3 };

/// A search of every kind; `share` says where the budget lies between the levels of least and of
/// highest cost.
fn any_space() -> impl Strategy<Value = SearchSpace> {
    let groupings = [
        Grouping::Size,
        Grouping::Name,
        Grouping::None,
        Grouping::Tied,
    ];
    let grouping = prop::sample::select(groupings.to_vec());
    (0..7_usize, 1..5_u32, 0.02..0.98_f64, grouping).prop_map(
        |(kind, num_blocks, share, grouping)| {
            let gptq: (&str, &dyn Method) = ("gptq", &BITS);
            let sparsegpt: (&str, &dyn Method) = ("sparsegpt", &SPARSE);
            let drop: (&str, &dyn Method) = ("drop", &Drops);
            let one_group = match grouping {
                Grouping::Tied => Grouping::Tied,
                _ => Grouping::None,
            };
            let bytes = |methods: &[(&str, &dyn Method)]| {
                let anything = space(
                    num_blocks,
                    methods,
                    &Budget::SizeBytes(FIXED + 1),
                    Some(one_group),
                );
                // Without drops nothing so small can be had; the sentence says how small it gets.
                let least = anything.map_or_else(|error| number(&error.to_string(), 1), |_| FIXED);
                let all = space(
                    num_blocks,
                    methods,
                    &Budget::SizeBytes(u64::MAX / 2),
                    Some(one_group),
                );
                let most = number(&all.unwrap_err().to_string(), 1);
                let max_bytes = least + ((most - least) as f64 * share) as u64;
                space(
                    num_blocks,
                    methods,
                    &Budget::SizeBytes(max_bytes),
                    Some(one_group),
                )
                .unwrap()
            };
            match kind {
                0 => space(
                    num_blocks,
                    &[gptq],
                    &measure("bits_per_weight", 2.0 + 3.9 * share),
                    Some(grouping),
                )
                .unwrap(),
                1 => space(
                    num_blocks,
                    &[sparsegpt],
                    &measure("sparsity", 0.45 + 0.1 * share),
                    Some(grouping),
                )
                .unwrap(),
                2 => bytes(&[gptq]),
                3 => bytes(&[sparsegpt]),
                4 => bytes(&[drop, gptq]),
                5 => bytes(&[gptq, sparsegpt]),
                _ => bytes(&[gptq, drop, sparsegpt]),
            }
        },
    )
}

/// A number of a sentence, counted from 0.
fn number(sentence: &str, which: usize) -> u64 {
    let numbers = sentence
        .split_whitespace()
        .filter_map(|word| word.parse().ok());
    numbers.collect::<Vec<u64>>()[which]
}

/// Whether some unit of a group could be raised by its method within the budget.
fn has_room(space: &SearchSpace, genotype: &Genotype) -> bool {
    space.groups().iter().any(|group| {
        let slack = (group.max_cost - space.cost(genotype, group)) as i64;
        group.unit_idxs.iter().any(|&idx| {
            let method = space.method_idx(idx, genotype.level(idx));
            let above = (0..genotype.level(idx)).filter(|&l| space.method_idx(idx, l) == method);
            let mut steps = above.map(|level| space.cost_change(genotype, idx, level));
            steps.any(|step| step > 0 && step <= slack)
        })
    })
}

proptest! {
    #[test]
    fn every_budget_holds_and_is_used_up(space in any_space(), seed in any::<u64>()) {
        let mut rng = stream(seed, 1, Purpose::Mutation);
        let mut genotype = random_genotype(&space, &mut rng);
        prop_assert!(space.meets_budget(&genotype));
        prop_assert!(!has_room(&space, &genotype));
        for _ in 0..60 {
            genotype = mutate(&space, &genotype, &mut rng);
            prop_assert!(space.meets_budget(&genotype));
            prop_assert!(!has_room(&space, &genotype));
        }
    }

    #[test]
    fn a_budget_is_filled_up_as_if_every_raise_were_looked_for_anew(space in any_space(), seed in any::<u64>()) {
        let (mut kept, mut anew) = (space.min_cost_genotype(), space.min_cost_genotype());
        let (mut rng, mut again) = (stream(seed, 1, Purpose::Mutation), stream(seed, 1, Purpose::Mutation));
        for group in space.groups() {
            fill(&space, group, &group.unit_idxs, &mut kept, &mut rng);
            fill_anew(&space, group, &mut anew, &mut again);
        }
        prop_assert_eq!(kept, anew);
    }

    #[test]
    fn a_uniform_start_meets_the_budget(space in any_space()) {
        if let Some(uniform) = space.uniform() {
            prop_assert!(space.meets_budget(&uniform));
            prop_assert_eq!(space.exact_uniform().is_some(), !has_any_room(&space, &uniform));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_search(space in any_space(), seed in any::<u64>()) {
        let wanted = vec![0; space.units().len()];
        let settings = settings(4, seed);
        let found = search(&space, &mut Hidden::new(&wanted), &settings);
        prop_assert_eq!(&search(&space, &mut Hidden::new(&wanted), &settings), &found);
        prop_assert!(space.meets_budget(&found.parent));
    }
}

/// [`fill`] without anything kept from one raise to the next.
fn fill_anew(space: &SearchSpace, group: &Group, genotype: &mut Genotype, rng: &mut impl Rng) {
    loop {
        let slack = group.max_cost as i64 - space.cost(genotype, group) as i64;
        let next = |&unit_idx: &usize| {
            let now = genotype.level(unit_idx);
            let method = space.method_idx(unit_idx, now);
            let above = (0..now).rev();
            let above = above.filter(|&level| space.method_idx(unit_idx, level) == method);
            let mut costs =
                above.map(|level| (level, space.cost_change(genotype, unit_idx, level)));
            let (level, cost) = costs.find(|(_, cost)| *cost > 0)?;
            (cost <= slack).then_some((unit_idx, level))
        };
        let raises: Vec<(usize, usize)> = group.unit_idxs.iter().filter_map(next).collect();
        match raises.choose(rng) {
            Some(&(unit_idx, level)) => genotype.0[unit_idx] = level as u16,
            None => return,
        }
    }
}

fn has_any_room(space: &SearchSpace, genotype: &Genotype) -> bool {
    space.groups().iter().any(|group| {
        let slack = (group.max_cost - space.cost(genotype, group)) as i64;
        let units = group.unit_idxs.iter();
        let steps = units.flat_map(|&idx| (0..genotype.level(idx)).map(move |level| (idx, level)));
        steps.into_iter().any(|(idx, level)| {
            let step = space.cost_change(genotype, idx, level);
            step > 0 && step <= slack
        })
    })
}

#[test]
fn the_paper_starts_from_the_uniform_genotype_where_it_is_exact() {
    let evaluated = |value: f64| {
        let space = space(
            4,
            &[("gptq", &BITS)],
            &measure("bits_per_weight", value),
            None,
        )
        .unwrap();
        let mut fitness = Hidden::new(&vec![0; space.units().len()]);
        let state = initial(&space, &mut fitness, &settings(1, 0), &[]).unwrap();
        (fitness.evaluated, Some(state.parent) == space.uniform())
    };
    assert_eq!(evaluated(3.0), (1, true));
    assert_eq!(evaluated(2.5), (8, false));
}

#[test]
fn a_dropped_sub_block_comes_back() {
    let methods: [(&str, &dyn Method); 2] = [("drop", &Drops), ("gptq", &BITS)];
    let space = space(4, &methods, &Budget::SizeBytes(12_000), None).unwrap();
    let mut rng = stream(3, 1, Purpose::Mutation);
    let mut genotype = random_genotype(&space, &mut rng);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..300 {
        genotype = mutate(&space, &genotype, &mut rng);
        seen.insert((genotype.0[0], genotype.0[1]));
    }
    assert_eq!(
        seen.len(),
        4,
        "attention and MLP of block 0 in every combination"
    );
}

#[test]
fn levels_of_equal_bytes_are_all_reached() {
    // Both methods are the same one, so every level has a twin.
    let methods: [(&str, &dyn Method); 2] = [("a", &BITS), ("b", &BITS)];
    let space = space(2, &methods, &Budget::SizeBytes(9000), None).unwrap();
    let mut rng = stream(0, 1, Purpose::Mutation);
    let mut genotype = random_genotype(&space, &mut rng);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2000 {
        genotype = mutate(&space, &genotype, &mut rng);
        seen.extend(genotype.0.iter().copied());
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn generations_are_the_papers() {
    let check = |method: &dyn Method, budget: &Budget, expected| {
        let space = space(12, &[("method", method)], budget, None).unwrap();
        assert_eq!(paper_generations(&space), expected);
    };
    check(&BITS, &measure("bits_per_weight", 3.0), 150);
    check(&SPARSE, &measure("sparsity", 0.5), 400);
    // 3 of 12 dropped: 3 · 9 / 1.5.
    check(&Drops, &measure("drop", 0.25), 18);
    check(&BITS, &Budget::Compression(2.0), 150);
}

/// A model whose error is the sum of its units' errors.
struct Additive(Vec<Vec<f64>>);

impl Additive {
    fn error(&self, genotype: &Genotype) -> f64 {
        let levels = genotype.0.iter().map(|&level| usize::from(level));
        self.0
            .iter()
            .zip(levels)
            .map(|(unit, level)| unit[level])
            .sum()
    }
}

impl Fitness for Additive {
    fn num_sequences(&self) -> usize {
        16
    }

    fn losses(&mut self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<Vec<f64>>> {
        Ok(genotypes
            .iter()
            .map(|genotype| vec![self.error(genotype); minibatch.len()])
            .collect())
    }
}

#[test]
fn where_errors_add_up_the_search_comes_near_the_optimum() {
    let gptq: (&str, &dyn Method) = ("gptq", &BITS);
    let sparsegpt: (&str, &dyn Method) = ("sparsegpt", &SPARSE);
    let check = |methods: &[(&str, &dyn Method)], budget: &Budget, generations| {
        let settings = settings(generations, 1);
        let space = space(6, methods, budget, Some(Grouping::None)).unwrap();
        let sensitivity = |layer: u32| f64::from(1 + layer * 7919 % 13);
        let errors = baselines::unit_errors(&space, &|id| {
            let by_level = if id.method_idx == 0 { 4.0_f64 } else { 1.5 };
            sensitivity(id.layer_idx) * by_level.powi(i32::from(id.variant_idx))
        });
        let best = baselines::dynamic_programming(&space, &errors).unwrap();
        let mut fitness = Additive(errors);
        let start = initial(&space, &mut fitness, &settings, &[]).unwrap();
        let begun = start.fitness;
        let found = run(&space, &mut fitness, &settings, start, |_| Ok(())).unwrap();
        let excess = found.fitness / fitness.error(&best) - 1.0;
        assert!(
            (-1e-9..0.1).contains(&excess),
            "{excess} above the optimum, from {begun}"
        );
    };
    check(&[gptq], &measure("bits_per_weight", 3.0), 150);
    check(&[gptq], &measure("bits_per_weight", 3.3), 150);
    check(&[gptq], &Budget::Compression(2.5), 150);
    check(&[sparsegpt, gptq], &Budget::Compression(2.5), 400);
}
