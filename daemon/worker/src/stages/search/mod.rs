//! From a loaded model to the fittest genotype: calibration, baselines, the first parent, the
//! generations. Each part is taken from the checkpoint where an earlier attempt has finished it.

mod baselines;
mod first_parent;
mod generations;
mod held_out;
mod inputs;
mod progress;

use std::cell::Cell;

use anyhow::Result;
use evopress::baselines::Baseline;
use evopress::evaluate::{CalibratedFitness, ExpertUse};
use evopress_spec::{Mode, Stage};

use crate::{setup, texts};

pub(crate) use inputs::Inputs;
pub(crate) use progress::SearchProgress;

/// What the search has found.
pub(crate) struct Searched {
    pub(crate) baselines: Vec<Baseline>,
    /// Its state holds the fittest genotype.
    pub(crate) progress: SearchProgress,
    /// What the dense model's routers do.
    pub(crate) experts: Vec<ExpertUse>,
}

/// Calibration sequences that the use of experts is measured on.
const ROUTED_SEQUENCES: usize = 64;

/// Measures baselines and searches, from wherever an earlier attempt was interrupted. `resumed` is
/// what it had found so far.
pub(crate) fn run(inputs: &Inputs<'_>, resumed: Option<SearchProgress>) -> Result<Searched> {
    let recorder = inputs.recorder;
    let settings = setup::search_settings(inputs.plan, inputs.space);
    let is_over = resumed
        .as_ref()
        .is_some_and(|progress| progress.is_over(settings.generations));
    let saved = baselines::load(inputs.checkpoint)?;
    let stage = Cell::new(Stage::Baselines);
    let mut fitness = calibrated(inputs, &stage)?;
    // A fast search sees a part of the text, and computes the targets of that part.
    let needs_all_targets = inputs.plan.search.mode == Mode::Paper;
    if needs_all_targets && !(is_over && saved.is_some()) {
        let total = fitness.corpus().num_sequences() as u64;
        let progress = |done| recorder.progress(Stage::Calibrate, done as u64, total, "sequences");
        recorder.stage(Stage::Calibrate, false, || Ok(fitness.calibrate(progress)?))?;
    }
    let baselines = recorder.stage(Stage::Baselines, saved.is_some(), || match saved {
        Some(saved) => Ok(saved),
        None => baselines::measure(inputs, &settings, &mut fitness),
    })?;
    stage.set(Stage::Initial);
    let start = recorder.stage(Stage::Initial, resumed.is_some(), || match resumed {
        Some(resumed) => Ok(resumed),
        None => first_parent::find(inputs, &settings, &mut fitness, &baselines),
    })?;
    stage.set(Stage::Search);
    let progress = recorder.stage(Stage::Search, is_over, || match is_over {
        true => Ok(start),
        false => generations::run(inputs, &settings, &mut fitness, start),
    })?;
    for warning in progress.warnings(&inputs.plan.search.fitness.plugin) {
        recorder.warn(warning);
    }
    Ok(Searched {
        baselines,
        progress,
        experts: fitness.routing(ROUTED_SEQUENCES)?,
    })
}

/// The plan's fitness on its calibration text. `stage` is where the search is: in the generations,
/// each of which is an event of its own, forward passes are not reported.
fn calibrated<'a>(inputs: &Inputs<'a>, stage: &'a Cell<Stage>) -> Result<CalibratedFitness<'a>> {
    let corpus = texts::calibration(&inputs.plan.calibration, inputs.source)?;
    let plugin = inputs.fitness.clone();
    let mut fitness = CalibratedFitness::new(inputs.engine, inputs.space, plugin, corpus);
    fitness.limit_residual_cache(inputs.residual_cache_bytes);
    let recorder = inputs.recorder;
    fitness.on_progress(move |done, total| {
        if stage.get() != Stage::Search {
            recorder.progress(stage.get(), done as u64, total as u64, "forward passes");
        }
    });
    Ok(fitness)
}
