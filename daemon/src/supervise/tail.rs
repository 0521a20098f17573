//! Follows the events of one run in one slot, into metrics, log and board.

use std::time::Duration;

use evopress_spec::events::Reader;
use evopress_spec::{Event, EventKind, RunDir, Stage};

use crate::metrics::WorkMetrics;
use crate::progress::{Board, Live};

/// Time between two polls of the events.
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct Tail<'a> {
    run: String,
    slot: String,
    reader: Reader,
    live: Live,
    metrics: &'a WorkMetrics,
    board: &'a Board,
}

impl<'a> Tail<'a> {
    /// Begins after the events that are there: they count for what the run has reached, not for
    /// what happens now.
    pub(super) fn after_what_is_there(
        run_dir: &RunDir,
        slot: usize,
        metrics: &'a WorkMetrics,
        board: &'a Board,
    ) -> Self {
        let mut reader = Reader::new(&run_dir.events());
        let mut live = Live::default();
        for event in reader.poll().unwrap_or_default() {
            live.apply(&event);
        }
        live.failure = None;
        live.stage = None;
        board.show(&run_dir.id(), live.clone());
        Self {
            run: run_dir.id(),
            slot: slot.to_string(),
            reader,
            live,
            metrics,
            board,
        }
    }

    /// Waits for `work`, and follows the events until it is done, its last one included.
    pub(super) async fn follow<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            match tokio::time::timeout(LOOK, &mut work).await {
                Ok(done) => {
                    self.look();
                    return done;
                }
                Err(_) => self.look(),
            }
        }
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    fn look(&mut self) {
        match self.reader.poll() {
            Ok(events) if events.is_empty() => {}
            Ok(events) => {
                for event in &events {
                    self.take(event);
                }
                self.board.show(&self.run, self.live.clone());
            }
            Err(error) => tracing::warn!(run = self.run, %error, "events of a run cannot be read"),
        }
    }

    fn take(&mut self, event: &Event) {
        let before = (self.live.forward_tokens, self.live.stage);
        self.live.apply(event);
        let slot = &[self.slot.as_str()];
        match &event.kind {
            EventKind::StageStarted { stage } => {
                tracing::info!(run = self.run, %stage, "stage started")
            }
            EventKind::StageFinished {
                stage,
                seconds,
                reused,
            } => {
                tracing::info!(run = self.run, %stage, seconds, reused, "stage finished");
                if !reused {
                    self.metrics
                        .stages
                        .with_label_values(&[stage.as_str()])
                        .observe(*seconds);
                }
            }
            EventKind::Generation { forward_tokens, .. } => {
                self.metrics
                    .forward_tokens
                    .inc_by(forward_tokens.saturating_sub(before.0));
                self.metrics
                    .generation
                    .with_label_values(slot)
                    .set(i64::from(self.live.generation));
                self.metrics
                    .generations
                    .with_label_values(slot)
                    .set(i64::from(self.live.generations));
                if let Some(fitness) = self.live.best_fitness {
                    self.metrics
                        .best_fitness
                        .with_label_values(slot)
                        .set(fitness);
                }
                if let Some(held_out) = self.live.held_out {
                    self.metrics.held_out.with_label_values(slot).set(held_out);
                }
                if let Some(speed) = self.live.forward_tokens_per_second {
                    self.metrics
                        .tokens_per_second
                        .with_label_values(slot)
                        .set(speed);
                }
            }
            EventKind::Warning { message } => {
                tracing::warn!(run = self.run, message, "worker warns")
            }
            EventKind::Failed { reason } => {
                tracing::warn!(run = self.run, reason, "worker gave up")
            }
            _ => {}
        }
        if self.live.stage != before.1 {
            self.show_stage(before.1, self.live.stage);
        }
    }

    fn show_stage(&self, before: Option<Stage>, now: Option<Stage>) {
        if let Some(stage) = before {
            let _ = self
                .metrics
                .stage
                .remove_label_values(&[self.slot.as_str(), stage.as_str()]);
        }
        if let Some(stage) = now {
            self.metrics
                .stage
                .with_label_values(&[self.slot.as_str(), stage.as_str()])
                .set(1);
        }
    }
}
