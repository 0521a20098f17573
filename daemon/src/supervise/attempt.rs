//! One attempt: a worker from its start to its end, told to stop when the daemon stops.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evopress_spec::RunDir;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

use super::Supervisor;
use super::tail::Tail;
use super::verdict::{AttemptEnd, Outcome};
use crate::journal::Run;
use crate::state_dir::try_lock_file;
use crate::worker_process::End;

/// A worker of a daemon that was killed may need this long to finish its generation and write its
/// checkpoint.
const PREDECESSOR: Duration = Duration::from_secs(60);

impl Supervisor {
    pub(super) async fn attempt(&self, run: &Run, run_dir: &RunDir, slot: usize) -> Outcome {
        let not_started = |why: String| Outcome {
            end: AttemptEnd::NotStarted(why),
            stage: None,
            said: None,
            full_disk: None,
        };
        if let Err(why) = wait_for_predecessor(run_dir).await {
            return not_started(why);
        }
        let _held = match self.bring_model(run_dir).await {
            Ok(held) => held,
            Err(why) => return not_started(why),
        };
        let mut tail = Tail::after_what_is_there(run_dir, slot, &self.metrics, &self.board);
        let cache = self.state.cache();
        let starting = self.worker.start_run(run_dir, &cache, run.attempt);
        let child = match starting.await {
            Ok(child) => child,
            Err(error) => return not_started(error.to_string()),
        };
        tracing::info!(
            run = run.id,
            pid = child.id(),
            attempt = run.attempt,
            "worker started"
        );
        let end = tail.follow(self.wait(child)).await;
        let live = tail.live();
        Outcome {
            end,
            stage: live.stage,
            said: live.failure.clone(),
            full_disk: full_disk(self.state.root()),
        }
    }

    /// Waits for the worker's end. When the daemon stops, the worker is asked to stop, too, and
    /// killed if it does not do so in time.
    async fn wait(&self, mut child: Child) -> AttemptEnd {
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = self.stop.requested() => {
                signal(&child, Signal::TERM);
                match tokio::time::timeout(self.settings.drain, child.wait()).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        tracing::warn!(pid = child.id(), "worker did not stop in time and is killed");
                        signal(&child, Signal::KILL);
                        child.wait().await
                    }
                }
            }
        };
        match ended {
            Ok(status) => AttemptEnd::Ended(End::from(status)),
            Err(error) => {
                AttemptEnd::NotStarted(format!("the worker cannot be waited for: {error}"))
            }
        }
    }
}

/// Sends a signal to the worker and to all that it has started: it leads a process group.
fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(pid) = pid {
        // It may have ended in this moment.
        let _ = kill_process_group(pid, signal);
    }
}

/// A disk with less free space than this counts as full: an event or a checkpoint may not fit.
const LITTLE_BYTES: u64 = 1 << 20;

/// The state folder, if its disk is full. A worker on a full disk cannot even write down why it
/// gave up.
fn full_disk(state: &Path) -> Option<PathBuf> {
    let disk = rustix::fs::statvfs(state).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (free < LITTLE_BYTES).then(|| state.to_owned())
}

async fn wait_for_predecessor(run_dir: &RunDir) -> Result<(), String> {
    let since = Instant::now();
    loop {
        match try_lock_file(&run_dir.lock()) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if since.elapsed() < PREDECESSOR => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            Ok(None) => return Err("another worker still has the run's lock".to_owned()),
            Err(error) => return Err(format!("cannot lock the run: {error}")),
        }
    }
}
