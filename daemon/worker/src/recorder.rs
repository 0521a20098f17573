//! What a run tells the world: events as they happen, warnings, and how long each stage took.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use evopress_spec::events::{Reader, Writer};
use evopress_spec::{EventKind, RunDir, Stage};

/// Shortest time between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Writes `events.jsonl`. Timings and warnings include those of earlier attempts.
pub(crate) struct Recorder {
    writer: RefCell<Writer>,
    timings: RefCell<BTreeMap<Stage, f64>>,
    warnings: RefCell<Vec<String>>,
    last_progress: RefCell<Option<Instant>>,
}

impl Recorder {
    /// Continues the events of the run in `run_dir`.
    pub(crate) fn open(run_dir: &RunDir) -> Result<Self> {
        let path = run_dir.events();
        let mut timings = BTreeMap::new();
        let mut warnings = Vec::new();
        let earlier = match path.exists() {
            true => Reader::new(&path).poll()?,
            false => Vec::new(),
        };
        for event in earlier {
            match event.kind {
                EventKind::StageFinished { stage, seconds, .. } => {
                    *timings.entry(stage).or_insert(0.0) += seconds;
                }
                EventKind::Warning { message } if !warnings.contains(&message) => {
                    warnings.push(message);
                }
                _ => {}
            }
        }
        let writer = Writer::open(&path).with_context(|| path.display().to_string())?;
        Ok(Self {
            writer: RefCell::new(writer),
            timings: RefCell::new(timings),
            warnings: RefCell::new(warnings),
            last_progress: RefCell::default(),
        })
    }

    /// Appends an event. A full disk must not end a search that could still finish: it is logged.
    pub(crate) fn event(&self, kind: EventKind) {
        if let Err(error) = self.writer.borrow_mut().write(kind) {
            tracing::warn!(%error, "an event could not be written");
        }
    }

    /// Records a sentence that the user should know: in the log, in the events and in the report.
    /// A warning that the run has given already is not repeated.
    pub(crate) fn warn(&self, message: String) {
        tracing::warn!("{message}");
        if self.warnings.borrow().contains(&message) {
            return;
        }
        self.warnings.borrow_mut().push(message.clone());
        self.event(EventKind::Warning { message });
    }

    /// Runs a stage between its two events. `reused` is whether its output was there already.
    pub(crate) fn stage<T>(
        &self,
        stage: Stage,
        reused: bool,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.stage_that_may_be_reused(stage, || Ok((work()?, reused)))
    }

    /// Runs a stage between its two events, where only `work` finds out whether the output was
    /// there already.
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

    /// Records that `done` of `total` are done, unless the last such event was a moment ago.
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

    /// Seconds by stage, over all attempts.
    pub(crate) fn timings(&self) -> BTreeMap<Stage, f64> {
        self.timings.borrow().clone()
    }

    /// The warnings of all attempts, each once, in their order.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_outlive_the_attempt_that_gave_them_and_are_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(folder.path());
        let first = Recorder::open(&run_dir).unwrap();
        first.warn("the text is short".to_owned());
        first.warn("the text is short".to_owned());
        drop(first);
        let second = Recorder::open(&run_dir).unwrap();
        second.warn("the text is short".to_owned());
        second.warn("a gate failed".to_owned());
        assert_eq!(second.warnings(), ["the text is short", "a gate failed"]);
        let events = Reader::new(&run_dir.events()).poll().unwrap();
        assert_eq!(events.len(), 2);
    }
}
