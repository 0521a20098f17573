//! The supervisor: gives queued runs a slot, drives each to its end, and stops them all when the
//! daemon stops.

mod attempt;
mod cache;
mod drive;
mod model;
mod publications;
mod report;
mod tail;
mod verdict;

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::SupervisorSettings;
use crate::journal::{Journal, JournalError, Run};
use crate::metrics::WorkMetrics;
use crate::progress::Board;
use crate::state_dir::StateDir;
use crate::stop::Stop;
use crate::worker_process::Worker;

pub use drive::DriveError;

/// Drives runs.
#[derive(Debug)]
pub struct Supervisor {
    /// Where the runs are.
    pub state: StateDir,
    /// The queue.
    pub journal: Arc<Journal>,
    /// Starts workers.
    pub worker: Arc<Worker>,
    /// How many runs and attempts, and how long.
    pub settings: SupervisorSettings,
    /// Metrics that it keeps.
    pub metrics: WorkMetrics,
    /// Shows how far the runs are.
    pub board: Arc<Board>,
    /// Told when something was put into the queue.
    pub wake: Arc<Notify>,
    /// Told when a run has come to its end, of which a publication may wait.
    pub unpublished: Arc<Notify>,
    /// Tells when the workers shall stop.
    pub stop: Stop,
}

impl Supervisor {
    /// Takes up what the last daemon left, then drives the queue until told to stop; comes back
    /// when all workers have stopped.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn serve(self: Arc<Self>) -> Result<(), JournalError> {
        let mut unpublished = self.journal.recover()?;
        self.journal.publications_are_due()?;
        self.prune_cache().await;
        let waiting = tokio::spawn(self.clone().publish_what_waits());
        let mut slots = vec![false; self.settings.max_concurrent_runs];
        let mut runs = JoinSet::new();
        while !self.stop.is_requested() {
            while let Some(slot) = slots.iter().position(|taken| !taken) {
                let next = if unpublished.is_empty() {
                    self.journal.claim_next()?
                } else {
                    Some(unpublished.remove(0))
                };
                let Some(run) = next else { break };
                slots[slot] = true;
                let supervisor = self.clone();
                runs.spawn(async move {
                    supervisor.drive_logged(run, slot).await;
                    slot
                });
            }
            tokio::select! {
                () = self.wake.notified() => {}
                Some(ended) = runs.join_next() => free(&mut slots, ended),
                () = self.stop.requested() => {}
            }
        }
        while let Some(ended) = runs.join_next().await {
            free(&mut slots, ended);
        }
        waiting.abort(); // what it does is done again after the next start
        Ok(())
    }

    async fn drive_logged(&self, run: Run, slot: usize) {
        let id = run.id.clone();
        if let Err(error) = self.drive(run, slot).await {
            tracing::error!(run = id, %error, "run cannot be driven on; the next start of the daemon takes it up again");
        }
    }
}

fn free(slots: &mut [bool], ended: Result<usize, tokio::task::JoinError>) {
    match ended {
        Ok(slot) => slots[slot] = false,
        // The slot stays taken, and says so in the log, rather than that two runs share one.
        Err(error) => {
            tracing::error!(%error, "the task of a run panicked; its slot is lost until the daemon restarts")
        }
    }
}
