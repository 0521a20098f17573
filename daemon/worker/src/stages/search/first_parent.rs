//! The genotype that the search starts from.

use std::time::Instant;

use anyhow::Result;
use evopress::baselines::Baseline;
use evopress::evaluate::CalibratedFitness;
use evopress::genotype::Genotype;
use evopress::search::{self, Settings, fast};
use evopress_spec::{HistoryEntry, Mode};

use super::held_out::HeldOutRecord;
use super::inputs::Inputs;
use super::progress::SearchProgress;
use crate::setup;

/// Finds the first parent and saves it. Baselines compete for it in a fast search, and in a paper
/// search that the plan lets start from them.
pub(super) fn find(
    inputs: &Inputs<'_>,
    settings: &Settings,
    fitness: &mut CalibratedFitness<'_>,
    baselines: &[Baseline],
) -> Result<SearchProgress> {
    let search = &inputs.plan.search;
    let competes = search.mode == Mode::Fast || search.initial.baselines;
    let starts: Vec<Genotype> = baselines
        .iter()
        .filter(|_| competes)
        .map(|baseline| baseline.genotype.clone())
        .collect();
    let tokens = fitness.token_counter();
    tokens.set(0);
    let began = Instant::now();
    let (state, fast) = match search.mode {
        Mode::Fast => {
            let settings = setup::fast_settings(inputs.plan);
            let (state, fast) = fast::start(inputs.space, fitness, &settings, &starts)?;
            (state, Some(fast))
        }
        Mode::Paper => {
            let state = search::initial(inputs.space, fitness, settings, &starts)?;
            (state, None)
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let progress = SearchProgress {
        history: vec![HistoryEntry {
            generation: 0,
            best_fitness: state.fitness,
            forward_tokens: tokens.get(),
            seconds,
            held_out: None,
        }],
        held_out: HeldOutRecord::default(),
        state,
        fast,
        forward_tokens: tokens.get(),
        seconds,
        switch_seconds: 0.0,
    };
    progress.save(inputs.checkpoint)?;
    Ok(progress)
}
