//! Genotypes that the search is compared with.

use anyhow::Result;
use evopress::baselines::{self, Baseline};
use evopress::evaluate::CalibratedFitness;
use evopress::genotype::Genotype;
use evopress::search::Settings;
use evopress_spec::Mode;

use super::inputs::Inputs;
use crate::checkpoint::Checkpoint;

/// Sequences that baselines are measured on: as many as the largest selection stage has, but at
/// least these.
const MIN_SEQUENCES: usize = 8;

/// Name of their file in the checkpoint.
const FILE: &str = "baselines";

/// The baselines of an earlier attempt, if it has measured them.
pub(super) fn load(checkpoint: &Checkpoint) -> Result<Option<Vec<Baseline>>> {
    let saved: Option<Vec<(String, Genotype)>> = checkpoint.load(FILE)?;
    let named = |(name, genotype)| Baseline { name, genotype };
    Ok(saved.map(|saved| saved.into_iter().map(named).collect()))
}

/// Measures every baseline that the search space and the databases allow, and saves them.
pub(super) fn measure(
    inputs: &Inputs<'_>,
    settings: &Settings,
    fitness: &mut CalibratedFitness<'_>,
) -> Result<Vec<Baseline>> {
    let plan = inputs.plan;
    // A fast search has no stages, and spends little on what it is compared with.
    let largest = match plan.search.mode {
        Mode::Fast => None,
        Mode::Paper => settings
            .stages
            .iter()
            .map(|stage| stage.num_sequences)
            .max(),
    };
    let settings = baselines::Settings {
        num_sequences: largest.unwrap_or(1).max(MIN_SEQUENCES),
        num_random: plan.baselines.random as usize,
        seed: plan.search.seed,
    };
    let num_layers = inputs.space.outline().layers.len();
    let found = inputs.databases.with_scores(num_layers, |scores| {
        baselines::all(inputs.space, fitness, settings, scores)
    })?;
    let named: Vec<_> = found
        .iter()
        .map(|baseline| (&baseline.name, &baseline.genotype))
        .collect();
    inputs.checkpoint.save(FILE, &named)?;
    Ok(found)
}
