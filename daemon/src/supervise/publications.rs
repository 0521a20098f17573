//! Publication of a finished run, and of all those whose registry could not be reached before.

use std::sync::Arc;
use std::time::Duration;

use evopress_spec::RunDir;

use super::Supervisor;
use super::drive::{DriveError, take};
use super::tail::Tail;
use crate::journal::JournalError;
use crate::publish::{Outcome, Publisher, Which};

/// The longest time between two queries for publications that wait.
const LOOK: Duration = Duration::from_secs(30);
/// After this time a run that another process is publishing is considered again.
const ELSEWHERE: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Tries publications of a run once, and counts the results.
    ///
    /// # Errors
    /// They could not be tried; one sentence.
    pub(super) async fn push(&self, run_dir: &RunDir, which: Which) -> Result<Outcome, String> {
        let (journal, folder) = (self.journal.clone(), run_dir.clone());
        let (endpoints, pause) = (self.settings.endpoints.clone(), self.settings.backoff);
        let publishing = tokio::task::spawn_blocking(move || {
            let publisher = Publisher {
                journal: &journal,
                endpoints: &endpoints,
                pause,
            };
            publisher.publish(&folder, &which)
        });
        let outcome = match publishing.await {
            Ok(result) => result.map_err(|error| error.to_string())?,
            Err(_) => return Err("the task panicked".to_owned()),
        };
        let run = run_dir.id();
        for place in &outcome.published {
            let (location, version) = (&place.location, &place.version);
            self.metrics
                .published
                .with_label_values(&[&place.registry])
                .inc();
            tracing::info!(run, location, version, "model is published");
        }
        for (registry, error) in &outcome.failed {
            self.metrics
                .publication_failures
                .with_label_values(&[registry])
                .inc();
            tracing::warn!(run, registry, error, "model cannot be published");
        }
        Ok(outcome)
    }

    /// Publishes a run that is done, by hand or because it is due, and records what is still
    /// missing.
    ///
    /// # Errors
    /// The run is being driven by another process, or its files or the journal cannot be used.
    pub async fn publish_again(&self, run: &str, which: Which) -> Result<Outcome, DriveError> {
        let run_dir = RunDir::of_run(self.state.root(), run);
        let _driver = take(&run_dir)?;
        let outcome = self
            .push(&run_dir, which)
            .await
            .map_err(std::io::Error::other)?;
        self.journal.explain(run, outcome.pending.as_deref())?;
        Ok(outcome)
    }

    /// Publishes a run that is being driven, and shows the progress in its slot.
    pub(super) async fn push_shown(
        &self,
        run_dir: &RunDir,
        slot: usize,
    ) -> Result<Outcome, String> {
        let mut tail = Tail::after_what_is_there(run_dir, slot, &self.metrics, &self.board);
        tail.follow(self.push(run_dir, Which::Missing)).await
    }

    /// Tries each publication that waits when it is due, until told to stop.
    pub(super) async fn publish_what_waits(self: Arc<Self>) {
        loop {
            let pause = match self.next_publication().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "the publications that wait cannot be read from the journal");
                    LOOK
                }
            };
            // A new one may be due sooner than what we sleep for.
            let stopping = tokio::time::timeout(pause.min(LOOK), self.stop.requested());
            tokio::select! {
                stopped = stopping => if stopped.is_ok() { return },
                () = self.unpublished.notified() => {}
            }
        }
    }

    /// Tries one that is due, or returns the time until one is.
    async fn next_publication(&self) -> Result<Duration, JournalError> {
        let Some((wait, run)) = self.journal.next_publication()? else {
            return Ok(LOOK);
        };
        if !wait.is_zero() {
            return Ok(wait);
        }
        match self.publish_again(&run, Which::Missing).await {
            // The pause after a failure is in the journal.
            Ok(outcome) if !outcome.failed.is_empty() || outcome.pending.is_none() => {}
            Ok(_) => self.journal.put_off(&run, ELSEWHERE)?,
            Err(error) => {
                tracing::warn!(run, %error, "run cannot be published");
                let pause = ELSEWHERE.max(self.settings.backoff);
                self.journal.put_off(&run, pause)?;
                if !matches!(error, DriveError::InProgress(_)) {
                    self.journal.explain(&run, Some(&error.to_string()))?;
                }
                return Ok(ELSEWHERE);
            }
        }
        Ok(Duration::ZERO)
    }
}
