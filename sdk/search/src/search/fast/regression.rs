//! A Bayesian linear regression of what changes do, on the paired differences of all races.
//!
//! ```text
//! J(S) = Σ_m (α_c f_m + β_c ½ G_mm + σ_c f⁰_m + τ_c ½ G⁰_mm + θ_m) + γ_c ½ Σ_{m≠n} G_mn        c: the kind of step
//! ```
//!
//! with the predictions of [`Surrogate`] (`f⁰` and `G⁰` at the first token of sequences), factors for each kind of step (a level of an
//! attention's or an MLP's layer up or down, a sub-block given back or left out), and a correction `θ` for every step between two levels of a unit. A quadratic model of the loss would have all factors 1; away
//! from the dense model the loss grows slower than its curvature says, and how much is what the factors' priors hold and races correct.
//! What is proposed is best under a *sample* of the posterior (Thompson sampling), so that doubt leads to trying.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::surrogate::{NUM_TERMS, Observation, Surrogate, Terms};

/// Mean and spread of a factor before anything was evaluated, in the order of [`Terms`]. Those of levels are what regressions of 240 single
/// moves, measured around a 3-bit SmolLM2, showed: an attention's layer does to the first token what is predicted; an MLP's layer moves the loss
/// less than its curvature says, the more of it there is. Those of sub-blocks are what exchanges at the cosine window showed.
const FACTORS: [(f64, f64); NUM_TERMS] = [
    // Attention, up and down.
    (0.45, 0.2),
    (0.4, 0.25),
    (0.4, 0.2),
    (0.27, 0.15),
    (0.15, 0.2),
    (0.6, 0.25),
    (0.85, 0.2),
    (0.95, 0.2),
    // MLP, up and down.
    (0.35, 0.2),
    (0.05, 0.2),
    (0.3, 0.3),
    (0.3, 0.3),
    (-0.2, 0.2),
    (0.22, 0.15),
    (0.5, 0.3),
    (0.5, 0.3),
    // Sub-blocks, given back and left out.
    (0.3, 0.3),
    (0.2, 0.3),
    (0.0, 0.0),
    (0.0, 0.0),
    (0.8, 0.3),
    (1.1, 0.4),
    (0.0, 0.0),
    (0.0, 0.0),
    // Together.
    (0.4, 0.3),
    (0.3, 0.4),
];
/// Spread of a step's correction, as a part of what is predicted for it and of what is predicted for a typical one.
const STEP_SPREAD: f64 = 0.5;
/// The least that a typical step's effect is taken to be.
const LEAST_STEP: f64 = 1e-5;
/// The same where nothing is predicted.
const UNKNOWN_STEP: f64 = 0.01;

/// One draw of the posterior.
pub(super) struct Sampled {
    factors: Terms,
    /// By pair of neighbouring levels: what the step to the higher index does beside its prediction, θ.
    corrections: Vec<f64>,
    /// By move: all but what it does together with others.
    steps: Vec<f64>,
}

impl Sampled {
    /// What a step does alone.
    pub(super) fn step(&self, idx: usize) -> f64 {
        self.steps[idx]
    }

    /// Factor of what steps do together, γ, by [`Surrogate::together`].
    pub(super) fn factor(&self, term: usize) -> f64 {
        self.factors[term].max(0.0)
    }
}

/// The posterior of the factors and every θ.
pub(super) struct Posterior<'a> {
    surrogate: &'a Surrogate,
    observations: &'a [Observation],
    /// By observation.
    features: Vec<Vec<(usize, f64)>>,
    /// Of the observations' covariance; none where that is not positive definite.
    factor: Option<Vec<Vec<f64>>>,
    /// Of each factor; none without learning.
    factor_spreads: Terms,
    /// By pair of neighbouring levels.
    spreads: Vec<f64>,
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
        let (factor_spreads, spreads) = match learns {
            true => (FACTORS.map(|(_, spread)| spread), step_spreads(surrogate)),
            false => ([0.0; NUM_TERMS], vec![0.0; surrogate.num_pairs()]),
        };
        let covariance = |i: usize, j: usize| {
            let (a, b) = (&observations[i].predicted, &observations[j].predicted);
            let terms = (0..NUM_TERMS).map(|idx| a[idx] * b[idx] * factor_spreads[idx].powi(2));
            let noise = match i == j {
                true => observations[i].standard_error.powi(2) + 1e-18,
                false => 0.0,
            };
            terms.sum::<f64>() + shared(&features[i], &features[j], &spreads) + noise
        };
        Self {
            surrogate,
            observations,
            factor: cholesky(observations.len(), covariance),
            features,
            factor_spreads,
            spreads,
        }
    }

    /// A draw whose deviation from the mean is scaled by `temperature`: 0 is the mean itself.
    pub(super) fn sample(&self, temperature: f64, rng: &mut impl Rng) -> Sampled {
        let mut normal = || -> f64 {
            let drawn: f64 = StandardNormal.sample(rng);
            temperature * drawn
        };
        let surrogate = self.surrogate;
        let mut sampled = Sampled {
            factors: std::array::from_fn(|idx| {
                FACTORS[idx].0 + self.factor_spreads[idx] * normal()
            }),
            corrections: self
                .spreads
                .iter()
                .map(|spread| spread * normal())
                .collect(),
            steps: Vec::new(),
        };
        self.condition(&mut sampled, &mut normal);
        let steps = (0..surrogate.num_steps()).map(|idx| {
            let pairs = surrogate.pairs_of_step(idx);
            let correction = pairs.map(|(key, sign)| sign * sampled.corrections[key]);
            dot(&sampled.factors, &surrogate.alone(idx)) + correction.sum::<f64>()
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
            let prior = dot(&sampled.factors, &seen.predicted);
            seen.mean - prior - drawn.sum::<f64>() + seen.standard_error * normal()
        });
        let weights = solve(factor, residuals.collect());
        for ((seen, features), weight) in seen().zip(weights) {
            for (idx, term) in seen.predicted.into_iter().enumerate() {
                sampled.factors[idx] += self.factor_spreads[idx].powi(2) * term * weight;
            }
            for &(key, sign) in features {
                sampled.corrections[key] += self.spreads[key].powi(2) * sign * weight;
            }
        }
    }
}

fn dot(a: &Terms, b: &Terms) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// By pair of neighbouring levels: how uncertain its correction is, in proportion to what is predicted for it.
fn step_spreads(surrogate: &Surrogate) -> Vec<f64> {
    if !surrogate.has_gradients() {
        return vec![STEP_SPREAD * UNKNOWN_STEP; surrogate.num_pairs()];
    }
    let means = FACTORS.map(|(mean, _)| mean.abs());
    let size = |idx: usize| dot(&means, &surrogate.alone(idx).map(f64::abs));
    let sizes: Vec<f64> = (0..surrogate.num_steps()).map(size).collect();
    let mut sorted = sizes.clone();
    sorted.sort_by(f64::total_cmp);
    let typical = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let typical = typical.max(LEAST_STEP);
    let mut spreads = vec![STEP_SPREAD * typical; surrogate.num_pairs()];
    for (idx, size) in sizes.into_iter().enumerate() {
        for (key, _) in surrogate.pairs_of_step(idx) {
            spreads[key] = STEP_SPREAD * (size + typical);
        }
    }
    spreads
}

/// Covariance of two changes' corrections, whose features are in the order of the units.
fn shared(a: &[(usize, f64)], b: &[(usize, f64)], spreads: &[f64]) -> f64 {
    let in_both = a.iter().filter_map(|(key, x)| {
        let at = b.binary_search_by_key(key, |(key, _)| *key).ok()?;
        Some(x * b[at].1 * spreads[*key].powi(2))
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
