//! What a run tells the world: events as they happen, and how long each stage took.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use evopress_spec::events::{Reader, Writer};
use evopress_spec::{EventKind, RunDir, Stage};

/// Shortest time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Writes `events.jsonl`; timings include those of earlier attempts.
pub(crate) struct Recorder {
    writer: RefCell<Writer>,
    timings: RefCell<BTreeMap<Stage, f64>>,
    warnings: RefCell<Vec<String>>,
    last_progress: RefCell<Option<Instant>>,
}

impl Recorder {
    pub(crate) fn open(run_dir: &RunDir) -> Result<Self> {
        let path = run_dir.events();
        let mut timings = BTreeMap::new();
        if path.exists() {
            for event in Reader::new(&path).poll()? {
                if let EventKind::StageFinished { stage, seconds, .. } = event.kind {
                    *timings.entry(stage).or_insert(0.0) += seconds;
                }
            }
        }
        let writer = Writer::open(&path).with_context(|| path.display().to_string())?;
        Ok(Self {
            writer: RefCell::new(writer),
            timings: RefCell::new(timings),
            warnings: RefCell::default(),
            last_progress: RefCell::default(),
        })
    }

    /// Appends an event. A full disk must not end a search that could still finish: it is logged.
    pub(crate) fn event(&self, kind: EventKind) {
        if let Err(error) = self.writer.borrow_mut().write(kind) {
            tracing::warn!(%error, "an event could not be written");
        }
    }

    pub(crate) fn warn(&self, message: String) {
        tracing::warn!("{message}");
        self.warnings.borrow_mut().push(message.clone());
        self.event(EventKind::Warning { message });
    }

    /// Runs a stage between its two events.
    pub(crate) fn stage<T>(
        &self,
        stage: Stage,
        reused: bool,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.stage_that_may_be_reused(stage, || Ok((work()?, reused)))
    }

    /// The same, where only the work finds out whether its output was there already.
    pub(crate) fn stage_that_may_be_reused<T>(
        &self,
        stage: Stage,
        work: impl FnOnce() -> Result<(T, bool)>,
    ) -> Result<T> {
        tracing::info!(%stage, "stage started");
        self.event(EventKind::StageStarted { stage });
        *self.last_progress.borrow_mut() = None;
        let start = Instant::now();
        let (result, reused) = work()?;
        let seconds = start.elapsed().as_secs_f64();
        *self.timings.borrow_mut().entry(stage).or_insert(0.0) += seconds;
        self.event(EventKind::StageFinished {
            stage,
            seconds,
            reused,
        });
        tracing::info!(%stage, seconds, reused, "stage finished");
        Ok(result)
    }

    pub(crate) fn progress(&self, stage: Stage, done: u64, total: u64, unit: &str) {
        let mut last = self.last_progress.borrow_mut();
        if done < total && last.is_some_and(|last| last.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        self.event(EventKind::Progress {
            stage,
            done,
            total,
            unit: unit.to_owned(),
        });
    }

    pub(crate) fn timings(&self) -> BTreeMap<Stage, f64> {
        self.timings.borrow().clone()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }
}
