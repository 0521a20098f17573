//! One run from its start to its final state: attempts, pauses between them, publication.

use std::fs::File;
use std::time::Duration;

use evopress_spec::RunDir;

use super::Supervisor;
use super::report;
use super::verdict::{Verdict, judge};
use crate::journal::{Change, JournalError, Run, RunState};
use crate::state_dir::try_lock_file;

/// An error that keeps a run from being driven. Its state stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The journal fails.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run's folder cannot be used.
    #[error("the run's folder: {0}")]
    Io(#[from] std::io::Error),
    /// Another process has it.
    #[error("run {0} is being driven by another process")]
    InProgress(String),
}

impl Supervisor {
    /// Drives a run, which is running or publishing, to a final state or until told to stop.
    ///
    /// # Errors
    /// The journal or the run's folder fails, or another process drives it.
    pub async fn drive(&self, run: Run, slot: usize) -> Result<Run, DriveError> {
        let run_dir = RunDir::of_run(self.state.root(), &run.id);
        let _driver = take(&run_dir)?;
        let id = run.id.clone();
        let result = match run.state {
            RunState::Publishing => self.publish(run, &run_dir, slot).await,
            _ => {
                let _held = self.hold_model(&run_dir);
                self.prune_cache().await;
                self.search(run, &run_dir, slot).await
            }
        };
        self.prune_cache().await;
        self.metrics.clear_slot(slot);
        self.board.remove(&id);
        result
    }

    async fn search(&self, mut run: Run, run_dir: &RunDir, slot: usize) -> Result<Run, DriveError> {
        loop {
            let outcome = self.attempt(&run, run_dir, slot).await;
            let stopping = self.stop.is_requested();
            let verdict = judge(&outcome, run.attempt, self.settings.attempts, stopping);
            self.metrics
                .attempts
                .with_label_values(&[verdict.as_label()])
                .inc();
            match verdict {
                Verdict::Done => {
                    let run = self.journal.transition(
                        &run.id,
                        RunState::Publishing,
                        Change::default(),
                    )?;
                    return self.publish(run, run_dir, slot).await;
                }
                Verdict::GateFailed => {
                    let change = Change::because(report::missed_gates(run_dir));
                    return Ok(self
                        .journal
                        .transition(&run.id, RunState::GateFailed, change)?);
                }
                Verdict::Interrupted(reason) => return self.interrupted(&run, reason),
                Verdict::Failed(reason) => return self.failed(&run, run_dir, reason),
                Verdict::Again(reason) => {
                    let change = Change {
                        attempt: Some(run.attempt + 1),
                        reason: Some(reason),
                    };
                    let pause = backoff(self.settings.backoff, run.attempt);
                    run = self
                        .journal
                        .transition(&run.id, RunState::Running, change)?;
                    if self.told_to_stop_within(pause).await {
                        return self.interrupted(&run, "stopped between two attempts".to_owned());
                    }
                }
            }
        }
    }

    /// A registry that fails holds nobody up: the run is done, and its publication is tried again.
    async fn publish(&self, run: Run, run_dir: &RunDir, slot: usize) -> Result<Run, DriveError> {
        let mut tries = 1;
        loop {
            let error = match self.push_shown(run_dir, slot).await {
                Ok(outcome) => {
                    let change = Change {
                        attempt: None,
                        reason: outcome.pending,
                    };
                    let run = self.journal.transition(&run.id, RunState::Done, change)?;
                    self.unpublished.notify_one();
                    return Ok(run);
                }
                Err(error) => error,
            };
            tracing::warn!(run = run.id, error, tries, "model cannot be published");
            if tries >= self.settings.attempts {
                let reason = format!(
                    "publishing failed: {error}; the model is in {}",
                    run_dir.model().display()
                );
                return self.failed(&run, run_dir, reason);
            }
            if self
                .told_to_stop_within(backoff(self.settings.backoff, tries))
                .await
            {
                return Ok(run); // publishing still, and published again after the next start
            }
            tries += 1;
        }
    }

    fn interrupted(&self, run: &Run, reason: String) -> Result<Run, DriveError> {
        Ok(self
            .journal
            .transition(&run.id, RunState::Interrupted, Change::because(reason))?)
    }

    fn failed(&self, run: &Run, run_dir: &RunDir, reason: String) -> Result<Run, DriveError> {
        if let Err(error) = report::write_failure(run_dir, &reason) {
            tracing::warn!(run = run.id, %error, "report of a failed run cannot be written");
        }
        Ok(self
            .journal
            .transition(&run.id, RunState::Failed, Change::because(reason))?)
    }

    pub(super) async fn told_to_stop_within(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.stop.requested())
            .await
            .is_ok()
    }
}

/// One process drives a run. The lock lasts as long as the file is open.
pub(super) fn take(run_dir: &RunDir) -> Result<File, DriveError> {
    let path = run_dir.path().join("supervisor.lock");
    try_lock_file(&path)?.ok_or_else(|| DriveError::InProgress(run_dir.id()))
}

/// The pause after the `attempt`-th attempt, counted from 1.
pub(super) fn backoff(first: Duration, attempt: u32) -> Duration {
    first.saturating_mul(1 << (attempt - 1).min(8))
}
