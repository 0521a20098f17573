//! How far a run is: the sum of its events. The bar, the metrics and the API all show this.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use evopress_core::time::parse_moment;
use evopress_spec::{Event, EventKind, Stage};
use serde::Serialize;

/// A run in progress.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Live {
    /// The stage that it is in.
    pub stage: Option<Stage>,
    /// What is done of the stage, where it counts something.
    pub progress: Option<Progress>,
    /// Generations done, of the search.
    pub generation: u32,
    /// Generations that there will be.
    pub generations: u32,
    /// Fitness of the best genotype; lower is better.
    pub best_fitness: Option<f64>,
    /// KL divergence on held-out text, when it was last measured.
    pub held_out: Option<f64>,
    /// Tokens sent forward by the search so far.
    pub forward_tokens: u64,
    /// Their number per second over the last generations.
    pub forward_tokens_per_second: Option<f64>,
    /// Seconds until the search is done, at the pace of the last generations.
    pub search_seconds_left: Option<f64>,
    /// Seconds until another stage is done that counts something, at its pace so far.
    pub stage_seconds_left: Option<f64>,
    /// Where it runs.
    pub device: Option<String>,
    /// Sentences for the user.
    pub warnings: Vec<String>,
    /// The reason of the worker's failure, if it failed.
    pub failure: Option<String>,
    #[serde(skip)]
    pub(super) recent: VecDeque<Sample>,
    #[serde(skip)]
    pub(super) stage_began: Option<StageBegan>,
}

/// What a stage had done at its first progress event. Work that an earlier attempt had done says
/// nothing about the pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct StageBegan {
    done: u64,
    seconds: f64,
}

/// Part of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// Of how much.
    pub total: u64,
    /// Of what.
    pub unit: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    generation: u32,
    forward_tokens: u64,
    search_seconds: f64,
}

/// Pace is measured over this many generations.
const WINDOW: usize = 8;

impl Live {
    /// Updates the progress by an event.
    pub fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Started { device, .. } => {
                self.device = Some(device.clone());
                self.enter(None);
                self.failure = None;
                self.recent.clear(); // another attempt has another pace
            }
            EventKind::StageStarted { stage } => {
                self.enter(Some(*stage));
            }
            EventKind::Progress {
                stage,
                done,
                total,
                unit,
            } => {
                if self.stage != Some(*stage) {
                    self.enter(Some(*stage));
                }
                self.take_stage_pace(event, *done, *total);
                self.progress = Some(Progress {
                    done: *done,
                    total: *total,
                    unit: unit.clone(),
                });
            }
            EventKind::Generation {
                generation,
                generations,
                best_fitness,
                forward_tokens,
                search_seconds,
                held_out,
                ..
            } => {
                self.generation = *generation;
                self.generations = *generations;
                self.best_fitness = Some(*best_fitness);
                self.held_out = held_out.or(self.held_out);
                self.forward_tokens = *forward_tokens;
                self.take_pace(Sample {
                    generation: *generation,
                    forward_tokens: *forward_tokens,
                    search_seconds: *search_seconds,
                });
            }
            EventKind::StageFinished { stage, .. } => {
                if *stage == Stage::Search {
                    self.search_seconds_left = None;
                }
                self.progress = None;
                self.stage_began = None;
                self.stage_seconds_left = None;
            }
            EventKind::Warning { message } => self.warnings.push(message.clone()),
            EventKind::Failed { reason } => self.failure = Some(reason.clone()),
            EventKind::Baseline { .. }
            | EventKind::Finished { .. }
            | EventKind::Interrupted { .. } => {}
        }
    }

    fn enter(&mut self, stage: Option<Stage>) {
        self.stage = stage;
        self.progress = None;
        self.stage_began = None;
        self.stage_seconds_left = None;
    }

    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    fn take_stage_pace(&mut self, event: &Event, done: u64, total: u64) {
        let Some(now) = parse_moment(&event.time).map(|time| time.as_secs_f64()) else {
            return;
        };
        let began = *self
            .stage_began
            .get_or_insert(StageBegan { done, seconds: now });
        let (more, seconds) = (done.saturating_sub(began.done), now - began.seconds);
        if more > 0 && seconds > 0.0 {
            let left = total.saturating_sub(done);
            self.stage_seconds_left = Some(left as f64 * seconds / more as f64);
        }
    }

    fn take_pace(&mut self, now: Sample) {
        if self
            .recent
            .back()
            .is_some_and(|last| last.generation >= now.generation)
        {
            self.recent.clear(); // resumed from an earlier checkpoint
        }
        let first = self.recent.front().copied();
        self.recent.push_back(now);
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
        let Some(first) = first else { return };
        let seconds = now.search_seconds - first.search_seconds;
        let num_generations = f64::from(now.generation - first.generation);
        if seconds > 0.0 {
            let tokens = now.forward_tokens.saturating_sub(first.forward_tokens);
            #[expect(clippy::cast_precision_loss, reason = "a speed for people")]
            let speed = tokens as f64 / seconds;
            self.forward_tokens_per_second = Some(speed);
            let left = f64::from(self.generations.saturating_sub(now.generation));
            // A fast search does not know when it will end.
            let is_known = self.generations > 0;
            self.search_seconds_left = is_known.then_some(left * seconds / num_generations);
        }
    }
}

/// The runs in progress of this process, by ID.
#[derive(Debug, Default)]
pub struct Board {
    runs: Mutex<HashMap<String, Live>>,
}

impl Board {
    /// The progress of a run.
    #[must_use]
    pub fn get(&self, run: &str) -> Option<Live> {
        self.lock().get(run).cloned()
    }

    /// Shows a run's progress.
    pub fn show(&self, run: &str, live: Live) {
        self.lock().insert(run.to_owned(), live);
    }

    /// The run is no longer in progress.
    pub fn remove(&self, run: &str) {
        self.lock().remove(run);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(generation: u32, forward_tokens: u64, search_seconds: f64) -> Event {
        let (generations, best_fitness, accepted) = (100, 0.5, true);
        Event::now(EventKind::Generation {
            generation,
            generations,
            best_fitness,
            accepted,
            forward_tokens,
            search_seconds,
            held_out: None,
        })
    }

    #[test]
    fn time_left_of_a_stage_comes_from_what_it_has_done_itself() {
        let mut live = Live::default();
        let mut progress = |second: u32, stage, done| {
            live.apply(&Event {
                time: format!("2026-01-31T09:59:{second:02}.500Z"),
                kind: EventKind::Progress {
                    stage,
                    done,
                    total: 210,
                    unit: "layers".to_owned(),
                },
            });
            live.stage_seconds_left
        };
        // 70 layers were there already.
        assert_eq!(progress(10, Stage::Database, 70), None);
        assert_eq!(progress(20, Stage::Database, 90), Some(60.0));
        assert_eq!(progress(30, Stage::Database, 130), Some(80.0 * 20.0 / 60.0));
        assert_eq!(progress(31, Stage::Calibrate, 1), None, "another stage");
        assert_eq!(progress(32, Stage::Calibrate, 3), Some(103.5));
        live.apply(&Event::now(EventKind::StageFinished {
            stage: Stage::Calibrate,
            seconds: 1.0,
            reused: false,
        }));
        assert_eq!(live.stage_seconds_left, None);
    }

    #[test]
    fn pace_and_time_left_come_from_the_last_generations() {
        let mut live = Live::default();
        live.apply(&generation(1, 1000, 2.0));
        assert_eq!(live.forward_tokens_per_second, None);
        live.apply(&generation(2, 2000, 4.0));
        assert_eq!(live.forward_tokens_per_second, Some(500.0));
        assert_eq!(live.search_seconds_left, Some(196.0));
        live.apply(&generation(1, 1000, 2.0));
        live.apply(&generation(2, 3000, 3.0));
        assert_eq!(
            live.forward_tokens_per_second,
            Some(2000.0),
            "a resumed search begins a new window"
        );
    }
}
