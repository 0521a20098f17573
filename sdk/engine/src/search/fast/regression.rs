//! A Bayesian linear regression of what changes do, on the paired differences of all races.
//!
//! ```text
//! J(S) = α₁ Σ_{m up} f_m + α₂ Σ_{m down} f_m + β ½ Σ_{m,n} G_mn + Σ θ_m        α, β ~ N(1, σ²)     θ_m ~ N(0, τ²)
//! ```
//!
//! with the predictions `f` and `G` of [`Surrogate`] and a correction `θ` for every step between two levels of a unit. What is proposed is
//! best under a *sample* of the posterior (Thompson sampling), so that doubt leads to trying.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::surrogate::{Observation, Surrogate, Terms};

/// Spread of α and β.
const SCALE_SPREAD: f64 = 0.5;
/// Spread of a step's correction, as a part of the steps' typical size.
const STEP_SPREAD: f64 = 0.5;
/// The least that the steps' typical size is taken to be.
const LEAST_STEP: f64 = 1e-4;

/// One draw of the posterior.
pub(super) struct Sampled {
    /// α and β.
    scales: Terms,
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
        self.scales[2].max(0.0)
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

impl<'a> Posterior<'a> {
    /// What is known of the steps, given what was observed; just the predictions without learning.
    pub(super) fn new(
        surrogate: &'a Surrogate,
        observations: &'a [Observation],
        learns: bool,
    ) -> Self {
        let observations = if learns { observations } else { &[] };
        let features: Vec<Vec<(usize, f64)>> = observations
            .iter()
            .map(|seen| surrogate.features(seen))
            .collect();
        let (scale_spread, spread) = match learns {
            true => (
                SCALE_SPREAD,
                STEP_SPREAD * surrogate.typical_step().max(LEAST_STEP),
            ),
            false => (0.0, 0.0),
        };
        let covariance = |i: usize, j: usize| {
            let predicted = dot(&observations[i].predicted, &observations[j].predicted);
            let noise = match i == j {
                true => observations[i].standard_error.max(spread / 10.0).powi(2) + 1e-18,
                false => 0.0,
            };
            scale_spread.powi(2) * predicted
                + spread.powi(2) * shared(&features[i], &features[j])
                + noise
        };
        Self {
            surrogate,
            observations,
            factor: cholesky(observations.len(), covariance),
            features,
            scale_spread,
            spread,
        }
    }

    /// A draw.
    pub(super) fn sample(&self, rng: &mut impl Rng) -> Sampled {
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        let surrogate = self.surrogate;
        let mut sampled = Sampled {
            scales: [0; 3].map(|_| 1.0 + self.scale_spread * normal()),
            corrections: (0..surrogate.num_pairs())
                .map(|_| self.spread * normal())
                .collect(),
            steps: Vec::new(),
        };
        self.condition(&mut sampled, &mut normal);
        let steps = (0..surrogate.num_steps()).map(|idx| {
            let pairs = surrogate.pairs_of_step(idx);
            let correction = pairs.map(|(key, sign)| sign * sampled.corrections[key]);
            sampled.scales[surrogate.direction(idx)] * surrogate.first(idx)
                + correction.sum::<f64>()
        });
        sampled.steps = steps.collect();
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
            let prior = dot(&sampled.scales, &seen.predicted);
            seen.mean - prior - drawn.sum::<f64>() + seen.standard_error * normal()
        });
        let weights = solve(factor, residuals.collect());
        for ((seen, features), weight) in seen().zip(weights) {
            for (scale, term) in sampled.scales.iter_mut().zip(seen.predicted) {
                *scale += self.scale_spread.powi(2) * term * weight;
            }
            for &(key, sign) in features {
                sampled.corrections[key] += self.spread.powi(2) * sign * weight;
            }
        }
    }
}

fn dot(a: &Terms, b: &Terms) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Inner product of two changes' features, both in the order of the units.
fn shared(a: &[(usize, f64)], b: &[(usize, f64)]) -> f64 {
    let in_both = a.iter().filter_map(|(key, x)| {
        let at = b.binary_search_by_key(key, |(key, _)| *key).ok()?;
        Some(x * b[at].1)
    });
    in_both.sum()
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
