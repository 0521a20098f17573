//! A Bayesian linear regression of what changes do, on the paired differences of all races.
//!
//! ```text
//! J(S) = Σ_m (α_c f_m + β_c ½ G_mm + σ_c f⁰_m + τ_c ½ G⁰_mm + θ_m) + γ_c ½ Σ_{m≠n} G_mn        c: the kind of level change
//! ```
//!
//! with the predictions of [`Surrogate`] (`f⁰` and `G⁰` at the first token of sequences), factors
//! for each kind of level change (an attention's or an MLP's layer raised or lowered, a sub-block
//! restored or dropped), and a correction `θ` for every change between two levels of a unit. A
//! quadratic model of the loss would have all factors 1; away from the dense model the loss grows
//! slower than its curvature says, and how much is what the factors' priors hold and races correct.
//! What is proposed is best under a *sample* of the posterior (Thompson sampling), so that doubt
//! leads to trying.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::observation::{NUM_TERMS, Observation, Terms};
use super::surrogate::Surrogate;
use super::tuning::{Prior, RegressionTuning};

/// One draw of the posterior.
pub(super) struct Sampled {
    factors: Terms,
    /// By pair of neighbouring levels: what the change to the higher index does beside its
    /// prediction, θ.
    corrections: Vec<f64>,
    /// By change: all but what it does together with others.
    alone: Vec<f64>,
}

impl Sampled {
    /// What a change does to the loss alone.
    pub(super) fn alone(&self, idx: usize) -> f64 {
        self.alone[idx]
    }

    /// Factor of what two changes between levels do together, γ.
    pub(super) fn levels_together(&self) -> f64 {
        self.factors[NUM_TERMS - 2].max(0.0)
    }

    /// Factor of what two changes do together of which one drops or restores a sub-block.
    pub(super) fn drops_together(&self) -> f64 {
        self.factors[NUM_TERMS - 1].max(0.0)
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
    /// Expected factor of each term.
    factor_means: Terms,
    /// Standard deviation of each factor; 0 without learning.
    factor_spreads: Terms,
    /// By pair of neighbouring levels.
    spreads: Vec<f64>,
}

impl<'a> Posterior<'a> {
    /// What is known of the changes, given what was observed; just the predictions without
    /// learning.
    pub(super) fn new(
        surrogate: &'a Surrogate,
        observations: &'a [Observation],
        learns: bool,
        tuning: &RegressionTuning,
    ) -> Self {
        let priors = priors(tuning);
        let observations = if learns { observations } else { &[] };
        let features: Vec<Vec<(usize, f64)>> = observations
            .iter()
            .map(|seen| surrogate.features(seen))
            .collect();
        let (factor_spreads, spreads) = match learns {
            true => (
                priors.map(|prior| prior.spread),
                correction_spreads(surrogate, &priors, tuning),
            ),
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
            factor_means: priors.map(|prior| prior.mean),
            factor_spreads,
            spreads,
        }
    }

    /// The predictions that it corrects.
    pub(super) fn surrogate(&self) -> &'a Surrogate {
        self.surrogate
    }

    /// Whether the observations could be taken into account. Where not, draws are those of the
    /// prior.
    pub(super) fn is_solved(&self) -> bool {
        self.factor.is_some()
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
                self.factor_means[idx] + self.factor_spreads[idx] * normal()
            }),
            corrections: self
                .spreads
                .iter()
                .map(|spread| spread * normal())
                .collect(),
            alone: Vec::new(),
        };
        self.condition(&mut sampled, &mut normal);
        let alone = (0..surrogate.num_changes()).map(|idx| {
            let pairs = surrogate.pairs_of_change(idx);
            let correction = pairs.map(|(key, sign)| sign * sampled.corrections[key]);
            dot(&sampled.factors, &surrogate.alone(idx)) + correction.sum::<f64>()
        });
        sampled.alone = alone.collect();
        sampled
    }

    /// Matheron's rule: a draw of the prior becomes one of the posterior by what separates the
    /// observations from their draw.
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

/// The priors of all factors, in the order of [`Terms`].
fn priors(tuning: &RegressionTuning) -> [Prior; NUM_TERMS] {
    let together = [tuning.levels_together, tuning.drops_together];
    let mut all = tuning.kinds.iter().flatten().chain(&together);
    std::array::from_fn(|_| *all.next().expect("a prior for every term"))
}

/// By pair of neighbouring levels: how uncertain its correction is, in proportion to what is
/// predicted for it.
fn correction_spreads(
    surrogate: &Surrogate,
    priors: &[Prior; NUM_TERMS],
    tuning: &RegressionTuning,
) -> Vec<f64> {
    let spread = tuning.correction_spread;
    if !surrogate.has_gradients() {
        return vec![spread * tuning.unknown_change; surrogate.num_pairs()];
    }
    let means = priors.map(|prior| prior.mean.abs());
    let size = |idx: usize| dot(&means, &surrogate.alone(idx).map(f64::abs));
    let sizes: Vec<f64> = (0..surrogate.num_changes()).map(size).collect();
    let mut sorted = sizes.clone();
    sorted.sort_by(f64::total_cmp);
    let typical = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let typical = typical.max(tuning.min_typical_change);
    let mut spreads = vec![spread * typical; surrogate.num_pairs()];
    for (idx, size) in sizes.into_iter().enumerate() {
        for (key, _) in surrogate.pairs_of_change(idx) {
            spreads[key] = spread * (size + typical);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_by_its_factor() {
        let a = [[4.0, 2.0, 0.6], [2.0, 5.0, 1.0], [0.6, 1.0, 3.0]];
        let factor = cholesky(3, |i, j| a[i][j]).unwrap();
        let x = solve(&factor, vec![1.0, -2.0, 0.5]);
        for (row, expected) in a.iter().zip([1.0, -2.0, 0.5]) {
            let found: f64 = row.iter().zip(&x).map(|(a, x)| a * x).sum();
            assert!((found - expected).abs() < 1e-12);
        }
        let indefinite = [[1.0, 2.0], [2.0, 1.0]];
        assert!(cholesky(2, |i, j| indefinite[i][j]).is_none());
        assert!(cholesky(1, |_, _| f64::NAN).is_none());
    }
}
