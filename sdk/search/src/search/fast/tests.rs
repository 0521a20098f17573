use std::cell::Cell;

use evopress_plugin::Method;

use super::*;
use crate::error::{Result, SearchError};
use crate::fitness::Fitness;
use crate::fixtures::{self, Bits, measure};
use crate::genotype::{Genotype, Grouping, SearchSpace};
use crate::prediction::{PredictionRequest, Predictions, Responses};
use crate::random::{Purpose, stream};
use crate::search::SearchState;
use crate::search::mutation::mutate;
use crate::search::start::random_genotype;

const BITS: Bits = Bits(&[2, 3, 4, 6]);

/// A unit for each of the seven layers of some blocks, at 3 bits a weight in all.
fn space(num_blocks: u32) -> SearchSpace {
    let budget = measure("bits_per_weight", 3.0);
    let method: (&str, &dyn Method) = ("gptq", &BITS);
    fixtures::space(num_blocks, &[method], &budget, Some(Grouping::None)).unwrap()
}

/// `Σ s_u l_u + ½ (Σ r_u l_u)²` with noise of a sequence and of a genotype: a model whose errors do
/// not add up.
struct Quadratic {
    sensitivities: Vec<f64>,
    responses: Vec<f64>,
    has_gradient: bool,
    evaluated: Cell<u64>,
    stop_after: u64,
    /// Of each gradient pass.
    samples: Vec<usize>,
}

impl Quadratic {
    fn new(num_units: usize) -> Self {
        let number = |idx: usize| ((idx * 7919 + 3) % 101) as f64 / 101.0;
        Self {
            sensitivities: (0..num_units).map(|idx| 0.05 + number(idx)).collect(),
            responses: (0..num_units).map(|idx| number(idx + 50) - 0.5).collect(),
            has_gradient: true,
            evaluated: Cell::new(0),
            stop_after: u64::MAX,
            samples: Vec::new(),
        }
    }

    fn exact(&self, genotype: &Genotype) -> f64 {
        let levels = || genotype.0.iter().map(|&level| f64::from(level));
        let dot = |a: &[f64]| a.iter().zip(levels()).map(|(a, b)| a * b).sum::<f64>();
        dot(&self.sensitivities) + 0.5 * dot(&self.responses).powi(2)
    }
}

impl Fitness for Quadratic {
    fn num_sequences(&self) -> usize {
        64
    }

    fn losses(&mut self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<Vec<f64>>> {
        let count = (genotypes.len() * minibatch.len()) as u64;
        self.evaluated.set(self.evaluated.get() + count);
        if self.evaluated.get() > self.stop_after {
            return Err(SearchError::Interrupted);
        }
        let noise = |genotype: &Genotype, idx: usize| {
            let mixed = genotype.0.iter().enumerate();
            let mixed = mixed.map(|(at, &level)| (at + 1) * usize::from(level) * (idx + 7) % 97);
            idx as f64 * 0.01 + (mixed.sum::<usize>() % 89) as f64 * 1e-4
        };
        let losses = genotypes.iter().map(|genotype| {
            let exact = self.exact(genotype);
            minibatch
                .iter()
                .map(|&idx| exact + noise(genotype, idx))
                .collect()
        });
        Ok(losses.collect())
    }

    fn tokens_spent(&self) -> u64 {
        self.evaluated.get()
    }

    fn predict(&mut self, request: &PredictionRequest<'_>) -> Result<Option<Predictions>> {
        if !self.has_gradient {
            return Ok(None);
        }
        let levels = || request.parent.0.iter().map(|&level| f64::from(level));
        let now: f64 = self
            .responses
            .iter()
            .zip(levels())
            .map(|(a, b)| a * b)
            .sum();
        let step = |idx: usize| {
            let change = request.changes[idx];
            (
                change.unit_idx,
                change.level as f64 - request.parent.level(change.unit_idx) as f64,
            )
        };
        // What every other unit does, it does at the first token.
        let is_at_sink = |idx: usize| request.changes[idx].unit_idx % 2 == 1;
        let slope = |idx: usize| {
            let (unit, change) = step(idx);
            change * (self.sensitivities[unit] + now * self.responses[unit])
        };
        let response = |idx| step(idx).1 * self.responses[step(idx).0];
        let idxs = || 0..request.changes.len();
        let first = idxs().map(|idx| (if is_at_sink(idx) { 0.0 } else { slope(idx) }, 0.0));
        let sink = idxs().map(|idx| match is_at_sink(idx) {
            true => (slope(idx), response(idx).powi(2)),
            false => (0.0, 0.0),
        });
        // One column: the product of two rows is that of two responses.
        let column = idxs().map(|idx| match is_at_sink(idx) {
            true => 0.0,
            false => response(idx) as f32,
        });
        let responses = Responses::new(request.changes.len(), column.collect());
        self.evaluated.set(self.evaluated.get() + 8);
        self.samples.push(request.samples_of_levels);
        Ok(Some(Predictions {
            first: first.collect(),
            sink: sink.collect(),
            sink_samples: request.samples_of_levels * request.sequence_idxs.len(),
            responses,
            forward_tokens: 8,
        }))
    }
}

fn settings(seed: u64) -> Settings {
    Settings {
        offspring: 8,
        gradient_sequences: 2,
        limit: Limit::default(),
        without: Without::default(),
        tuning: Tuning::default(),
        seed,
    }
}

fn search(
    space: &SearchSpace,
    fitness: &mut Quadratic,
    settings: &Settings,
) -> (
    SearchState,
    FastSearchState,
    Vec<(SearchState, FastSearchState)>,
) {
    let (state, fast) = start(space, fitness, settings, &[]).unwrap();
    let mut seen = vec![(state.clone(), fast.clone())];
    let keep = |state: &SearchState, fast: &FastSearchState| {
        seen.push((state.clone(), fast.clone()));
        Ok(())
    };
    let state = run(space, fitness, settings, state, fast, &|| 0.0, keep).unwrap();
    let fast = seen.last().unwrap().1.clone();
    (state, fast, seen)
}

#[test]
fn several_samples_are_taken_until_the_first_token_is_known() {
    let space = space(4);
    let mut fitness = Quadratic::new(space.units().len());
    search(&space, &mut fitness, &settings(1));
    let samples = fitness.samples;
    assert_eq!(samples[..2], [4, 4]);
    let late = &samples[samples.len() / 2..];
    assert!(late.iter().all(|&count| count == 1), "{samples:?}");
}

#[test]
fn comes_near_the_optimum_and_says_why_it_stops() {
    let space = space(4);
    for seed in 0..3 {
        let mut fitness = Quadratic::new(28);
        let (state, fast, seen) = search(&space, &mut fitness, &settings(seed));
        assert!(matches!(
            fast.stop_reason(),
            Some(StopReason::DoesNotPay { .. })
        ));
        let begun = fitness.exact(&seen[0].0.parent);
        let found = fitness.exact(&state.parent);
        // What a mutation may still gain is little beside what was gained.
        let mut rng = stream(seed, 0, Purpose::RandomBaseline);
        let near = (0..2000).map(|_| mutate(&space, &state.parent, &mut rng));
        let best = near.map(|it| fitness.exact(&it)).fold(found, f64::min);
        assert!(
            found < begun && found - best < 0.02 * (begun - found),
            "{begun} {found} {best}"
        );
    }
}

#[test]
fn gradients_save_evaluations() {
    let space = space(20);
    let spent = |has_gradient: bool| {
        let mut fitness = Quadratic::new(140);
        fitness.has_gradient = has_gradient;
        let mut rng = stream(1, 0, Purpose::RandomBaseline);
        let random = (0..200).map(|_| random_genotype(&space, &mut rng));
        let good = random.map(|it| fitness.exact(&it)).fold(f64::MAX, f64::min) - 10.0;
        let settings = Settings {
            limit: Limit {
                fitness: Some(good),
                ..Limit::default()
            },
            ..settings(1)
        };
        let (_, fast, _) = search(&space, &mut fitness, &settings);
        fast.forward_tokens
    };
    let (with, without) = (spent(true), spent(false));
    assert!(2 * with < without, "{with} {without}");
}

#[test]
fn budget_is_kept_and_the_parent_only_gets_better() {
    let space = space(4);
    let mut fitness = Quadratic::new(28);
    let (_, _, seen) = search(&space, &mut fitness, &settings(4));
    for pair in seen.windows(2) {
        assert!(space.meets_budget(&pair[1].0.parent));
        let change = fitness.exact(&pair[1].0.parent) - fitness.exact(&pair[0].0.parent);
        assert!(change < 0.01, "a worse parent by {change}");
        assert_eq!(pair[0].0.parent != pair[1].0.parent, pair[1].0.accepted);
    }
}

#[test]
fn an_interrupted_search_ends_like_an_undisturbed_one() {
    let space = space(4);
    let (state, fast, seen) = search(&space, &mut Quadratic::new(28), &settings(2));
    for (at, (resumed, kept)) in seen.iter().enumerate().step_by(8) {
        // What is kept goes through the checkpoint's JSON.
        let text = serde_json::to_string(kept).unwrap();
        let kept: FastSearchState = serde_json::from_str(&text).unwrap();
        let mut last = kept.clone();
        let keep = |_: &SearchState, fast: &FastSearchState| {
            last = fast.clone();
            Ok(())
        };
        let mut fitness = Quadratic::new(28);
        let again = run(
            &space,
            &mut fitness,
            &settings(2),
            resumed.clone(),
            kept,
            &|| 0.0,
            keep,
        );
        assert_eq!(again.unwrap(), state, "resumed after generation {at}");
        assert_eq!(last, fast);
    }
}

#[test]
fn every_ingredient_can_be_left_out() {
    let space = space(4);
    for idx in 0..5 {
        let without = Without {
            gradients: idx == 0,
            learning: idx == 1,
            racing: idx == 2,
            restarts: idx == 3,
            walks: idx == 4,
        };
        let settings = Settings {
            without,
            ..settings(3)
        };
        let mut fitness = Quadratic::new(28);
        let (state, fast, seen) = search(&space, &mut fitness, &settings);
        assert!(fast.stop_reason().is_some());
        assert!(fitness.exact(&state.parent) < fitness.exact(&seen[0].0.parent));
    }
}

/// Where a limit ends a walk, what it has gained is kept.
#[test]
fn a_limit_loses_no_gain() {
    let space = space(4);
    let mut num_walks = 0;
    for (seed, limit) in (0..4).flat_map(|seed| (160..400).step_by(8).map(move |it| (seed, it))) {
        let settings = Settings {
            limit: Limit {
                forward_tokens: Some(limit),
                ..Limit::default()
            },
            ..settings(seed)
        };
        let mut fitness = Quadratic::new(28);
        let (state, fast, seen) = search(&space, &mut fitness, &settings);
        assert_eq!(fast.stop_reason(), Some(StopReason::Tokens));
        assert_eq!(fast.position.genotype, state.parent);
        let (_, before) = &seen[seen.len() - 2];
        num_walks += u32::from(before.phase.is_walking());
        let found = fitness.exact(&state.parent);
        let walked = fitness.exact(&before.position.genotype);
        assert!(
            found < walked + 0.01,
            "{seed} {limit}: {found} after {walked}"
        );
    }
    assert!(num_walks > 4, "{num_walks} walks end at their limit");
}

#[test]
fn limits_end_a_search() {
    let space = space(4);
    let ended = |limit: Limit, seconds: f64| {
        let settings = Settings {
            limit,
            ..settings(1)
        };
        let mut fitness = Quadratic::new(28);
        let (state, fast) = start(&space, &mut fitness, &settings, &[]).unwrap();
        let mut stop = None;
        let keep = |_: &SearchState, fast: &FastSearchState| {
            stop = fast.stop_reason();
            Ok(())
        };
        run(
            &space,
            &mut fitness,
            &settings,
            state,
            fast,
            &|| seconds,
            keep,
        )
        .unwrap();
        stop.unwrap()
    };
    let limit = Limit::default();
    let tokens = Limit {
        forward_tokens: Some(200),
        ..limit
    };
    assert_eq!(ended(tokens, 0.0), StopReason::Tokens);
    let time = Limit {
        seconds: Some(60.0),
        ..limit
    };
    assert_eq!(ended(time, 61.0), StopReason::Time);
    let enough = Limit {
        fitness: Some(1e9),
        ..limit
    };
    assert_eq!(ended(enough, 0.0), StopReason::Reached);
}
