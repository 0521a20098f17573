//! What a change of the parent is expected to do: gradients' predictions, corrected by what evaluations have shown.
//!
//! Around the origin whose gradients were taken every unit may take a step to a next level, `m`. For a set `S` of steps
//!
//! ```text
//! J(S) = α Σ f_m + β ½ Σ_{m,n} G_mn + Σ θ_m        α, β ~ N(1, σ²)     θ_m ~ N(0, τ²)
//! ```
//!
//! with first-order terms `f` and the Gram matrix `G` of responses ([`crate::gradient`]). `α`, `β` and a correction `θ` for every step between
//! two levels of a unit are a Bayesian linear regression on the paired differences of all races. What is proposed is best under a *sample*
//! of its posterior (Thompson sampling), so that doubt leads to trying.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::Settings;
use super::race::Difference;
use crate::error::{EngineError, Result};
use crate::genotype::{Genotype, SearchSpace};
use crate::gradient::{Ask, Move, Predictions};
use crate::search::{Fitness, Purpose, draw};

/// Spread of α and β.
const SCALE_SPREAD: f64 = 0.5;
/// Spread of a step's correction, as a part of the steps' typical size.
const STEP_SPREAD: f64 = 0.5;
/// A step's size before anything is known about it.
const UNKNOWN_STEP: f64 = 0.01;

/// A paired difference: what a change has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Observation {
    /// By unit: level before and after.
    changes: Vec<(usize, u16, u16)>,
    /// First-order and second-order change that gradients predicted.
    predicted: (f64, f64),
    mean: f64,
    standard_error: f64,
}

/// Predictions around an origin.
pub(super) struct Surrogate {
    origin: Genotype,
    /// By unit: the steps that it may take from the origin's level, indices into `moves`.
    by_unit: Vec<Vec<usize>>,
    /// By unit: how many pairs of neighbouring levels the units before it have.
    offsets: Vec<usize>,
    moves: Vec<Move>,
    /// By move.
    first: Vec<f64>,
    gram: Vec<Vec<f64>>,
    /// Typical size of a step's effect.
    typical: f64,
    has_gradients: bool,
}

impl Surrogate {
    /// Takes gradients at `origin`, or does without them.
    pub(super) fn new(
        space: &SearchSpace,
        fitness: &mut dyn Fitness,
        settings: &Settings,
        origin: Genotype,
        generation: u32,
    ) -> Result<Self> {
        let moves = steps(space, &origin);
        let predictions = match settings.without.gradients {
            true => None,
            false => match predict(fitness, settings, &origin, &moves, generation) {
                // A generation without gradients is slower, and no reason to give up.
                Err(EngineError::NotFinite { .. }) => None,
                predictions => predictions?,
            },
        };
        Ok(Self::from(space, origin, moves, predictions))
    }

    fn from(
        space: &SearchSpace,
        origin: Genotype,
        moves: Vec<Move>,
        predictions: Option<Predictions>,
    ) -> Self {
        let mut by_unit = vec![Vec::new(); space.units().len()];
        for (idx, step) in moves.iter().enumerate() {
            by_unit[step.unit_idx].push(idx);
        }
        let mut num_pairs = 0;
        let offsets = space.units().iter().map(|unit| {
            num_pairs += unit.levels.len() - 1;
            num_pairs + 1 - unit.levels.len()
        });
        let mut offsets: Vec<usize> = offsets.collect();
        offsets.push(num_pairs);
        let has_gradients = predictions.is_some();
        let (mut first, mut gram) = match predictions {
            Some(predictions) => (shrunk(&predictions.first), predictions.gram),
            None => (
                vec![0.0; moves.len()],
                vec![vec![0.0; moves.len()]; moves.len()],
            ),
        };
        // A sub-block that is given back is no small step: its first-order term ranks it, its second says nothing.
        for (idx, step) in moves.iter().enumerate() {
            if space.only_drops(step.unit_idx) && step.level < origin.level(step.unit_idx) {
                gram[idx].fill(0.0);
                gram.iter_mut().for_each(|row| row[idx] = 0.0);
            }
        }
        for (idx, value) in first.iter_mut().enumerate() {
            if !(value.is_finite() && gram[idx].iter().all(|value| value.is_finite())) {
                *value = 0.0;
                gram[idx].fill(0.0);
            }
        }
        let size = |idx: usize| (first[idx] + 0.5 * gram[idx][idx]).powi(2);
        let mean = (0..moves.len()).map(size).sum::<f64>() / moves.len().max(1) as f64;
        Self {
            origin,
            by_unit,
            offsets,
            first,
            gram,
            moves,
            typical: match has_gradients {
                true => mean.sqrt(),
                false => UNKNOWN_STEP,
            },
            has_gradients,
        }
    }

    /// Whether predictions come from gradients.
    pub(super) fn has_gradients(&self) -> bool {
        self.has_gradients
    }

    /// Whether a unit of `genotype` is where no step from the origin leads, or so much has changed since that gradients are worth taking
    /// again.
    pub(super) fn is_stale(&self, genotype: &Genotype) -> bool {
        let moved = (0..self.by_unit.len())
            .filter(|&idx| genotype.0[idx] != self.origin.0[idx])
            .count();
        let is_near = |(idx, level): (usize, &u16)| self.levels(idx).any(|near| near == *level);
        let is_within = genotype.0.iter().enumerate().all(is_near);
        !is_within || self.has_gradients && moved > (self.by_unit.len() / 16).max(3)
    }

    /// The step that brings a unit from the origin's level to another; none where it stays, or where no step leads.
    pub(super) fn step(&self, unit_idx: usize, level: u16) -> Option<usize> {
        if self.origin.0[unit_idx] == level {
            return None;
        }
        let mut steps = self.by_unit[unit_idx].iter();
        steps
            .find(|&&idx| self.moves[idx].level == usize::from(level))
            .copied()
    }

    /// Levels that a unit may have.
    pub(super) fn levels(&self, unit_idx: usize) -> impl Iterator<Item = u16> + '_ {
        let steps = self.by_unit[unit_idx].iter();
        std::iter::once(self.origin.0[unit_idx])
            .chain(steps.map(|&idx| self.moves[idx].level as u16))
    }

    pub(super) fn gram(&self, a: usize, b: usize) -> f64 {
        self.gram[a][b]
    }

    /// What a race has shown of the change from `parent` to `genotype`.
    pub(super) fn observation(
        &self,
        parent: &Genotype,
        genotype: &Genotype,
        seen: &Difference,
    ) -> Observation {
        let pairs = parent.0.iter().zip(&genotype.0).enumerate();
        let changes = pairs.filter(|(_, (before, after))| before != after);
        let (first, second) = (self.orders(genotype), self.orders(parent));
        Observation {
            changes: changes.map(|(idx, (&a, &b))| (idx, a, b)).collect(),
            predicted: (first.0 - second.0, first.1 - second.1),
            mean: seen.mean,
            standard_error: seen.standard_error,
        }
    }

    /// First-order and second-order change from the origin.
    fn orders(&self, genotype: &Genotype) -> (f64, f64) {
        let steps: Vec<usize> = (0..self.by_unit.len())
            .filter_map(|idx| self.step(idx, genotype.0[idx]))
            .collect();
        let first = steps.iter().map(|&idx| self.first[idx]).sum();
        let pairs = steps
            .iter()
            .flat_map(|&a| steps.iter().map(move |&b| (a, b)));
        let second = pairs.map(|(a, b)| self.gram[a][b]).sum::<f64>() / 2.0;
        (first, second)
    }

    /// What is known of the steps, given what was observed.
    pub(super) fn posterior<'a>(
        &'a self,
        observations: &'a [Observation],
        settings: &Settings,
    ) -> Posterior<'a> {
        let learns = !settings.without.learning;
        let observations = if learns { observations } else { &[] };
        let features: Vec<Vec<(usize, f64)>> = observations
            .iter()
            .map(|seen| self.features(seen))
            .collect();
        let (scale_spread, spread) = match learns {
            true => {
                let typical = self.typical.max(UNKNOWN_STEP / 100.0);
                (SCALE_SPREAD, STEP_SPREAD * typical)
            }
            false => (0.0, 0.0),
        };
        let covariance = |i: usize, j: usize| {
            let ((f_i, s_i), (f_j, s_j)) = (observations[i].predicted, observations[j].predicted);
            let noise = match i == j {
                true => observations[i].standard_error.max(spread / 10.0).powi(2) + 1e-18,
                false => 0.0,
            };
            scale_spread.powi(2) * (f_i * f_j + s_i * s_j)
                + spread.powi(2) * shared(&features[i], &features[j])
                + noise
        };
        Posterior {
            surrogate: self,
            observations,
            factor: cholesky(observations.len(), covariance),
            features,
            scale_spread,
            spread,
        }
    }

    /// The pairs of neighbouring levels between two levels of a unit: +1 on the way to a higher index, −1 to a lower one.
    fn pairs(&self, unit_idx: usize, from: u16, to: u16) -> impl Iterator<Item = (usize, f64)> {
        let offset = self.offsets[unit_idx];
        let sign = if from <= to { 1.0 } else { -1.0 };
        (from.min(to)..from.max(to)).map(move |level| (offset + usize::from(level), sign))
    }

    fn features(&self, seen: &Observation) -> Vec<(usize, f64)> {
        let changes = seen.changes.iter();
        changes
            .flat_map(|&(unit_idx, from, to)| self.pairs(unit_idx, from, to))
            .collect()
    }
}

/// One draw of the posterior.
pub(super) struct Sampled {
    /// α and β.
    scales: [f64; 2],
    /// By pair of neighbouring levels: what the step to the higher index does beside its prediction, θ.
    corrections: Vec<f64>,
    /// By move: `α f + θ`.
    steps: Vec<f64>,
}

impl Sampled {
    /// Linear part of a step.
    pub(super) fn step(&self, idx: usize) -> f64 {
        self.steps[idx]
    }

    /// Factor of the second-order part.
    pub(super) fn second_scale(&self) -> f64 {
        self.scales[1].max(0.0)
    }
}

/// The posterior of α, β and every θ.
pub(super) struct Posterior<'a> {
    surrogate: &'a Surrogate,
    observations: &'a [Observation],
    /// By observation.
    features: Vec<Vec<(usize, f64)>>,
    /// Of the observations' covariance; none where that is not positive definite.
    factor: Option<Vec<Vec<f64>>>,
    scale_spread: f64,
    spread: f64,
}

impl Posterior<'_> {
    /// A draw.
    pub(super) fn sample(&self, rng: &mut impl Rng) -> Sampled {
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        let surrogate = self.surrogate;
        let num_pairs = surrogate.offsets.last().copied().unwrap_or(0);
        let mut sampled = Sampled {
            scales: [0, 1].map(|_| 1.0 + self.scale_spread * normal()),
            corrections: (0..num_pairs).map(|_| self.spread * normal()).collect(),
            steps: Vec::with_capacity(surrogate.moves.len()),
        };
        self.condition(&mut sampled, &mut normal);
        for (step, first) in surrogate.moves.iter().zip(&surrogate.first) {
            let from = surrogate.origin.0[step.unit_idx];
            let pairs = surrogate.pairs(step.unit_idx, from, step.level as u16);
            let correction = pairs.map(|(key, sign)| sign * sampled.corrections[key]);
            let correction: f64 = correction.sum();
            sampled.steps.push(sampled.scales[0] * first + correction);
        }
        sampled
    }

    /// Matheron's rule: a draw of the prior becomes one of the posterior by what separates the observations from their draw.
    fn condition(&self, sampled: &mut Sampled, normal: &mut impl FnMut() -> f64) {
        let Some(factor) = &self.factor else {
            return;
        };
        let seen = || self.observations.iter().zip(&self.features);
        let residuals = seen().map(|(seen, features)| {
            let drawn = features
                .iter()
                .map(|&(key, sign)| sign * sampled.corrections[key]);
            let (first, second) = seen.predicted;
            let prior = sampled.scales[0] * first + sampled.scales[1] * second;
            seen.mean - prior - drawn.sum::<f64>() + seen.standard_error * normal()
        });
        let weights = solve(factor, residuals.collect());
        for ((seen, features), weight) in seen().zip(weights) {
            let (first, second) = seen.predicted;
            sampled.scales[0] += self.scale_spread.powi(2) * first * weight;
            sampled.scales[1] += self.scale_spread.powi(2) * second * weight;
            for &(key, sign) in features {
                sampled.corrections[key] += self.spread.powi(2) * sign * weight;
            }
        }
    }
}

/// Inner product of two changes' features, both in the order of the units.
fn shared(a: &[(usize, f64)], b: &[(usize, f64)]) -> f64 {
    let in_both = a.iter().filter_map(|(key, x)| {
        let at = b.binary_search_by_key(key, |(key, _)| *key).ok()?;
        Some(x * b[at].1)
    });
    in_both.sum()
}

/// Every step of every unit whose level makes a difference.
pub(super) fn steps(space: &SearchSpace, origin: &Genotype) -> Vec<Move> {
    (0..space.units().len())
        .filter(|&unit_idx| !space.is_idle(origin, unit_idx))
        .flat_map(|unit_idx| {
            let level = origin.level(unit_idx);
            let mut levels = space.next_levels(unit_idx, level, true);
            levels.extend(space.next_levels(unit_idx, level, false));
            levels
                .into_iter()
                .map(move |level| Move { unit_idx, level })
        })
        .collect()
}

/// Gradients on fresh sequences.
pub(super) fn predict(
    fitness: &mut dyn Fitness,
    settings: &Settings,
    origin: &Genotype,
    moves: &[Move],
    generation: u32,
) -> Result<Option<Predictions>> {
    let purpose = Purpose::GradientMinibatch;
    let count = settings.gradient_sequences;
    let sequence_idxs = draw(fitness, settings.seed, generation, purpose, count);
    fitness.predict(&Ask {
        parent: origin,
        moves,
        sequence_idxs: &sequence_idxs,
        seed: settings.seed,
        generation,
    })
}

/// First-order terms drawn towards 0 by how uncertain they are beside how much they differ: the best of many noisy numbers is
/// otherwise mostly noise.
fn shrunk(first: &[(f64, f64)]) -> Vec<f64> {
    let count = first.len().max(1) as f64;
    let mean_square = first.iter().map(|(mean, _)| mean * mean).sum::<f64>() / count;
    let mean_error = first.iter().map(|(_, error)| error * error).sum::<f64>() / count;
    let signal = (mean_square - mean_error).max(0.1 * mean_square);
    let shrink = |&(mean, error): &(f64, f64)| match signal + error * error {
        0.0 => 0.0,
        total => mean * signal / total,
    };
    first.iter().map(shrink).collect()
}

/// The lower factor `L` of a positive definite `A = L Lᵀ`; none where it is not.
fn cholesky(count: usize, a: impl Fn(usize, usize) -> f64) -> Option<Vec<Vec<f64>>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(count);
    for i in 0..count {
        let mut row = Vec::with_capacity(i + 1);
        for j in 0..i {
            let other: &Vec<f64> = &factor[j];
            let dot: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.push((a(i, j) - dot) / other[j]);
        }
        let rest = a(i, i) - row.iter().map(|value| value * value).sum::<f64>();
        if rest.is_nan() || rest <= 0.0 {
            return None;
        }
        row.push(rest.sqrt());
        factor.push(row);
    }
    Some(factor)
}

/// `x` of `L Lᵀ x = b`.
fn solve(factor: &[Vec<f64>], mut b: Vec<f64>) -> Vec<f64> {
    for (i, row) in factor.iter().enumerate() {
        let dot: f64 = row[..i].iter().zip(&b).map(|(a, b)| a * b).sum();
        b[i] = (b[i] - dot) / row[i];
    }
    for i in (0..b.len()).rev() {
        let below = i + 1..b.len();
        let dot: f64 = below.map(|k| factor[k][i] * b[k]).sum();
        b[i] = (b[i] - dot) / factor[i][i];
    }
    b
}
