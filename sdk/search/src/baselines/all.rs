//! Every baseline that a search space and what is known of its layers allow.

use super::baseline::Baseline;
use super::depth;
use super::dynamic::{dynamic_programming, unit_errors};
use super::outliers::owl;
use super::router;
use crate::error::Result;
use crate::fitness::{Fitness, draw_minibatch};
use crate::genotype::{SearchSpace, WeightId};
use crate::random::Purpose;
use crate::search::random_genotypes;

/// How much text baselines see, and how many random genotypes compete.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Calibration sequences for the cosines and for the random genotypes.
    pub num_sequences: usize,
    /// N of 'best of N random'; none if 0.
    pub num_random: usize,
    /// Seed of the random genotypes and of the choice of sequences.
    pub seed: u64,
}

/// What level databases know of single layers; a baseline that lacks its part is left out.
#[derive(Clone, Copy, Default)]
pub struct Scores<'a> {
    /// Output error of a compressed weight relative to the dense layer's output, `‖(W − W') X‖² /
    /// ‖W X‖²`.
    pub weight_error: Option<&'a dyn Fn(WeightId) -> f64>,
    /// By layer of the outline: share of weights with `|W_ij| · ‖X_j‖` above 5 times the layer's
    /// mean of it.
    pub outlier_ratios: Option<&'a [f64]>,
}

/// Every baseline that the search space and the scores allow.
///
/// # Errors
/// When a forward pass fails or the run was interrupted.
pub fn all(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: Settings,
    scores: &Scores<'_>,
) -> Result<Vec<Baseline>> {
    let minibatch = draw_minibatch(
        fitness,
        settings.seed,
        0,
        Purpose::BaselineMinibatch,
        settings.num_sequences,
    );
    let mut baselines = of_layers(space, scores);
    baselines.extend(depth::baselines(space, fitness, &minibatch)?);
    baselines.extend(router::baseline(space, fitness, &minibatch)?);
    if settings.num_random > 0 {
        let genotypes = random_genotypes(space, settings.seed, settings.num_random);
        let measured = fitness.evaluate(&genotypes, &minibatch)?;
        let best = genotypes
            .into_iter()
            .zip(measured)
            .min_by(|a, b| a.1.total_cmp(&b.1));
        baselines.extend(best.map(|(genotype, _)| Baseline::new("best-of-random", genotype)));
    }
    Ok(baselines)
}

/// The baselines that need no forward pass.
pub(super) fn of_layers(space: &SearchSpace, scores: &Scores<'_>) -> Vec<Baseline> {
    let replaces = (0..space.units().len()).any(|idx| !space.only_drops(idx));
    let dynamic = scores
        .weight_error
        .filter(|_| replaces)
        .and_then(|error| dynamic_programming(space, &unit_errors(space, error)));
    let owl = scores.outlier_ratios.and_then(|ratios| owl(space, ratios));
    [
        ("uniform", space.uniform()),
        ("dynamic-programming", dynamic),
        ("owl", owl),
    ]
    .into_iter()
    .filter_map(|(name, genotype)| Some(Baseline::new(name, genotype?)))
    .collect()
}
