//! The generations that are left. Each is made durable before the next begins.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;
use evopress::SearchError;
use evopress::evaluate::CalibratedFitness;
use evopress::search::fast::{self, FastSearchState};
use evopress::search::{self, SearchState, Settings};
use evopress_spec::{EventKind, HistoryEntry};

use super::held_out::HeldOut;
use super::inputs::Inputs;
use super::progress::SearchProgress;
use crate::setup;

/// Searches on from `start` to the end.
pub(super) fn run(
    inputs: &Inputs<'_>,
    settings: &Settings,
    fitness: &mut CalibratedFitness<'_>,
    start: SearchProgress,
) -> Result<SearchProgress> {
    let (state, fast) = (start.state.clone(), start.fast.clone());
    let began = Instant::now();
    let seconds_before = start.seconds;
    let seconds = || seconds_before + began.elapsed().as_secs_f64();
    let tokens = fitness.token_counter();
    tokens.set(0);
    let held_out = HeldOut::new(inputs)?;
    // A fast search does not know how many generations it will have.
    let generations = match fast {
        Some(_) => 0,
        None => settings.generations,
    };
    let mut recorder = GenerationRecorder::new(*inputs, held_out, generations, tokens, start);
    recorder.measure_first_parent()?;
    match fast {
        Some(fast) => {
            let settings = setup::fast_settings(inputs.plan);
            let each = |state: &SearchState, fast: &FastSearchState| {
                recorder.record(state, Some(fast), seconds())
            };
            fast::run(
                inputs.space,
                fitness,
                &settings,
                state,
                fast,
                &seconds,
                each,
            )?;
        }
        None => {
            let each = |state: &SearchState| recorder.record(state, None, seconds());
            search::run(inputs.space, fitness, settings, state, each)?;
        }
    }
    Ok(recorder.progress)
}

/// Writes each generation down: into the checkpoint, the history and the events.
struct GenerationRecorder<'a> {
    inputs: Inputs<'a>,
    held_out: Option<HeldOut<'a>>,
    /// Generations in all; 0 in a fast search.
    generations: u32,
    /// Tokens of this attempt.
    tokens: Rc<Cell<u64>>,
    /// Of earlier attempts, less what the engine has counted before the first generation.
    tokens_before: u64,
    switched_before: f64,
    progress: SearchProgress,
}

impl<'a> GenerationRecorder<'a> {
    fn new(
        inputs: Inputs<'a>,
        held_out: Option<HeldOut<'a>>,
        generations: u32,
        tokens: Rc<Cell<u64>>,
        progress: SearchProgress,
    ) -> Self {
        Self {
            inputs,
            held_out,
            generations,
            tokens,
            tokens_before: progress.forward_tokens,
            switched_before: progress.switch_seconds - inputs.engine.decode_seconds(),
            progress,
        }
    }

    /// Where the search is at its beginning, the first parent gets its point on held-out text.
    fn measure_first_parent(&mut self) -> evopress::evaluate::Result<()> {
        if let [_] = &self.progress.history[..] {
            let state = self.progress.state.clone();
            let measured = self.measure(&state, false)?;
            self.progress.history[0].held_out = measured;
        }
        Ok(())
    }

    /// Records the generation that led to `state`.
    fn record(
        &mut self,
        state: &SearchState,
        fast: Option<&FastSearchState>,
        seconds: f64,
    ) -> Result<(), SearchError> {
        let switch_seconds = self.switched_before + self.inputs.engine.decode_seconds();
        self.progress.state = state.clone();
        self.progress.fast = fast.cloned();
        self.progress.forward_tokens = match fast {
            Some(fast) => fast.forward_tokens,
            None => self.tokens_before + self.tokens.get(),
        };
        self.progress.seconds = seconds;
        self.progress.switch_seconds = switch_seconds;
        let is_over = self.progress.is_over(self.generations);
        let held_out = self.measure(state, is_over)?;
        self.progress.history.push(HistoryEntry {
            generation: state.generation,
            best_fitness: state.fitness,
            forward_tokens: self.progress.forward_tokens,
            seconds,
            held_out,
        });
        let saved = self.progress.save(self.inputs.checkpoint);
        saved.map_err(|error| SearchError::Generation(error.into()))?;
        self.inputs.recorder.event(EventKind::Generation {
            generation: state.generation,
            generations: self.generations,
            best_fitness: state.fitness,
            accepted: state.accepted,
            forward_tokens: self.progress.forward_tokens,
            search_seconds: seconds,
            held_out,
        });
        Ok(())
    }

    /// The parent's KL divergence on held-out text, if it is time for it.
    fn measure(
        &mut self,
        state: &SearchState,
        is_over: bool,
    ) -> evopress::evaluate::Result<Option<f64>> {
        let Some(held_out) = &self.held_out else {
            return Ok(None);
        };
        let tokens = self.progress.forward_tokens;
        held_out.measure(&mut self.progress.held_out, state, tokens, is_over)
    }
}
