//! From a loaded model to the fittest genotype: calibration, baselines, the start, the generations.

use std::cell::Cell;
use std::time::Instant;

use anyhow::Result;
use evopress::baselines::{self, Baseline};
use evopress::corpus::Corpus;
use evopress::evaluator::{CalibratedFitness, Engine};
use evopress::genotype::Genotype;
use evopress::search::fast::{self, Memory};
use evopress::search::{self, State};
use evopress::{EngineError, SearchError};
use evopress_spec::{EventKind, HistoryEntry, Mode, Stage};

use crate::checkpoint::{self, Checkpoint};
use crate::database::Databases;
use crate::run::Run;
use crate::watch::{Watch, Watched};
use crate::{process, setup};

/// Sequences that baselines are measured on: as many as the last selection stage has, but at least these.
const MIN_BASELINE_SEQUENCES: usize = 8;

/// The part of the memory that is free when the search begins which a parent's streams may take.
pub(crate) const PREFIX_MEMORY: u64 = 8;

/// Baselines and the search, from wherever an earlier attempt left them.
pub(crate) fn find(
    run: &Run,
    engine: &Engine,
    databases: &Databases,
    checkpoint: &Checkpoint,
    saved: Option<checkpoint::Search>,
) -> Result<(Vec<Baseline>, checkpoint::Search)> {
    let Run {
        plan,
        recorder,
        settings,
        space,
        ..
    } = run;
    let saved_baselines: Option<Vec<(String, Genotype)>> = checkpoint.load("baselines")?;
    let is_done = saved.as_ref().is_some_and(|search| match &search.memory {
        Some(memory) => memory.stop.is_some(),
        None => search.state.generation >= settings.generations,
    });
    let fitness = setup::fitness(plan, &run.plugins)?;
    let calibration = &plan.calibration;
    let length = calibration.sequence_length as usize;
    let tokenizer = run.source.tokenizer()?;
    let num_tokens = calibration.tokens as usize;
    let corpus = Corpus::spread(&calibration.source, &tokenizer, num_tokens, length)?;
    let total = corpus.num_sequences() as u64;
    // In the search itself each generation is an event of its own.
    let stage = Cell::new(Stage::Baselines);
    let mut fitness = CalibratedFitness::new(engine, space, fitness, corpus);
    fitness.limit_prefixes(process::available_memory_bytes() / PREFIX_MEMORY);
    fitness.on_progress(|done, total| {
        if stage.get() != Stage::Search {
            recorder.progress(stage.get(), done as u64, total as u64, "forward passes");
        }
    });
    // A fast search sees a part of the text, and computes the targets of that part.
    let is_fast = plan.search.mode == Mode::Fast;
    if !(is_fast || is_done && saved_baselines.is_some()) {
        recorder.stage(Stage::Calibrate, false, || {
            let progress =
                |done| recorder.progress(Stage::Calibrate, done as u64, total, "sequences");
            Ok(fitness.calibrate(progress)?)
        })?;
    }
    let baselines =
        recorder.stage(
            Stage::Baselines,
            saved_baselines.is_some(),
            || match saved_baselines {
                Some(saved) => Ok(saved
                    .into_iter()
                    .map(|(name, genotype)| Baseline { name, genotype })
                    .collect()),
                None => {
                    // A fast search has no stages, and spends little on what it is compared with.
                    let stages = settings.stages.iter().map(|stage| stage.num_sequences);
                    let widest = if is_fast { None } else { stages.max() }.unwrap_or(1);
                    let settings = baselines::Settings {
                        num_sequences: widest.max(MIN_BASELINE_SEQUENCES),
                        num_random: plan.baselines.random as usize,
                        seed: plan.search.seed,
                    };
                    let found = databases.with_scores(run, |scores| {
                        baselines::all(space, &mut fitness, settings, scores)
                    });
                    let found = found.map_err(EngineError::from)?;
                    let named: Vec<_> = found
                        .iter()
                        .map(|baseline| (&baseline.name, &baseline.genotype))
                        .collect();
                    checkpoint.save("baselines", &named)?;
                    Ok(found)
                }
            },
        )?;
    stage.set(Stage::Initial);
    let start = recorder.stage(Stage::Initial, saved.is_some(), || match saved {
        Some(saved) => Ok(saved),
        None => {
            let found = begin(run, &mut fitness, &baselines)?;
            checkpoint.save("search", &found)?;
            Ok(found)
        }
    })?;
    stage.set(Stage::Search);
    let found = recorder.stage(Stage::Search, is_done, || match is_done {
        true => Ok(start),
        false => search_on(run, &mut fitness, checkpoint, start),
    })?;
    if let Some(message) = found.watched.parted() {
        recorder.event(EventKind::Warning { message });
    }
    Ok((baselines, found))
}

/// The first parent.
fn begin(
    run: &Run,
    fitness: &mut CalibratedFitness<'_>,
    baselines: &[Baseline],
) -> Result<checkpoint::Search> {
    let search = &run.plan.search;
    let starts = || baselines.iter().map(|baseline| baseline.genotype.clone());
    let tokens = fitness.token_counter();
    tokens.set(0);
    let began = Instant::now();
    let (state, memory) = match search.mode {
        Mode::Fast => {
            let starts: Vec<Genotype> = starts().collect();
            let settings = setup::fast_settings(&run.plan);
            let (state, memory) =
                fast::start(&run.space, fitness, &settings, &starts).map_err(EngineError::from)?;
            (state, Some(memory))
        }
        Mode::Paper => {
            let starts: Vec<Genotype> = match search.initial.baselines {
                true => starts().collect(),
                false => Vec::new(),
            };
            let state = search::initial(&run.space, fitness, &run.settings, &starts)
                .map_err(EngineError::from)?;
            (state, None)
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    Ok(checkpoint::Search {
        history: vec![HistoryEntry {
            generation: 0,
            best_fitness: state.fitness,
            forward_tokens: tokens.get(),
            seconds,
            held_out: None,
        }],
        watched: Watched::default(),
        state,
        memory,
        forward_tokens: tokens.get(),
        seconds,
        switch_seconds: 0.0,
    })
}

/// The generations that are left, each made durable before the next begins.
fn search_on(
    run: &Run,
    fitness: &mut CalibratedFitness<'_>,
    checkpoint: &Checkpoint,
    start: checkpoint::Search,
) -> Result<checkpoint::Search> {
    let tokens_before = start.forward_tokens;
    let seconds_before = start.seconds;
    let switched_before = start.switch_seconds - fitness.engine().switch_seconds();
    let mut found = start.clone();
    let engine = fitness.engine();
    let tokens = fitness.token_counter();
    tokens.set(0);
    let began = Instant::now();
    let seconds = || seconds_before + began.elapsed().as_secs_f64();
    // A fast search does not know how many generations it will have.
    let generations = match run.plan.search.mode {
        Mode::Paper => run.settings.generations,
        Mode::Fast => 0,
    };
    let watch = Watch::new(run, engine)?;
    if let (Some(watch), [first]) = (&watch, &mut found.history[..]) {
        let (state, tokens) = (&start.state, first.forward_tokens);
        first.held_out = watch.look(&mut found.watched, state, tokens, false)?;
    }
    let mut keep = |state: &State, memory: Option<&Memory>| {
        found.state = state.clone();
        found.memory = memory.cloned();
        found.forward_tokens = match memory {
            Some(memory) => memory.forward_tokens,
            None => tokens_before + tokens.get(),
        };
        found.seconds = seconds();
        found.switch_seconds = switched_before + engine.switch_seconds();
        let is_over = match memory {
            Some(memory) => memory.stop.is_some(),
            None => state.generation == generations,
        };
        let look = |watch: &Watch<'_>| {
            watch.look(&mut found.watched, state, found.forward_tokens, is_over)
        };
        let held_out = watch.as_ref().map(look).transpose()?.flatten();
        found.history.push(HistoryEntry {
            generation: state.generation,
            best_fitness: state.fitness,
            forward_tokens: found.forward_tokens,
            seconds: found.seconds,
            held_out,
        });
        checkpoint
            .save("search", &found)
            .map_err(|error| SearchError::Generation(error.into()))?;
        run.recorder.event(EventKind::Generation {
            generation: state.generation,
            generations,
            best_fitness: state.fitness,
            accepted: state.accepted,
            forward_tokens: found.forward_tokens,
            search_seconds: found.seconds,
            held_out,
        });
        Ok(())
    };
    match start.memory {
        Some(memory) => {
            let settings = setup::fast_settings(&run.plan);
            let each = |state: &State, memory: &Memory| keep(state, Some(memory));
            let state = start.state;
            fast::run(
                &run.space, fitness, &settings, state, memory, &seconds, each,
            )
            .map_err(EngineError::from)?;
        }
        None => {
            let each = |state: &State| keep(state, None);
            search::run(&run.space, fitness, &run.settings, start.state, each)
                .map_err(EngineError::from)?;
        }
    }
    Ok(found)
}
