//! The watched folder: files that are complete come out, whatever the file system tells or keeps to itself.
//!
//! What the system notifies is only a reason to look (see `hints`); what counts is what a look finds (see `looks`). Looks
//! happen on hints, while a file is still changing, and every few seconds in any case: a network file system sends no
//! hints, and a folder that was deleted and made again is silent.

mod hints;
mod looks;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use hints::Hints;
use looks::Looks;

use crate::metrics::WatcherMetrics;
use crate::stop::Stop;

/// A file that was complete when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub text: Vec<u8>,
}

/// Two looks at a file that find the same size and time are at least this far apart.
pub const SETTLE: Duration = Duration::from_millis(150);

/// A folder that is not there is looked for this often: no hint tells that it came back.
const MISSING: Duration = Duration::from_secs(1);

/// One change causes several hints; they are answered with one look.
const BURST: Duration = Duration::from_millis(10);

/// Watches `folder` until told to stop or nobody listens any more.
pub async fn watch_folder(
    folder: PathBuf,
    rescan: Duration,
    arrivals: mpsc::Sender<Arrival>,
    metrics: WatcherMetrics,
    stop: Stop,
) {
    let (mut hints, mut hinted) = Hints::new(folder.clone());
    let mut looks = Looks::default();
    let mut was_healthy = None;
    loop {
        // Armed before the look: what changes in between causes a hint.
        let armed = hints.arm();
        let observed = matches!(armed, Ok(false));
        let found = looks.look(&folder, Instant::now(), observed, &hints.being_written());
        note_health(&metrics, &folder, &armed, &found, &mut was_healthy);
        let missing = found.is_err();
        let Found {
            complete,
            unsettled,
        } = found.unwrap_or_default();
        for arrival in complete {
            if arrivals.send(arrival).await.is_err() {
                return;
            }
        }
        let pause = match (unsettled, missing) {
            (true, _) => SETTLE,
            (_, true) => rescan.min(MISSING),
            _ => rescan,
        };
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(pause) => {}
            Some(()) = hinted.recv() => tokio::time::sleep(BURST).await,
        }
    }
}

/// What one look found.
#[derive(Debug, Default)]
struct Found {
    complete: Vec<Arrival>,
    /// Some file must be looked at again soon.
    unsettled: bool,
}

fn note_health(
    metrics: &WatcherMetrics,
    folder: &std::path::Path,
    armed: &Result<bool, notify::Error>,
    found: &io::Result<Found>,
    was_healthy: &mut Option<bool>,
) {
    if matches!(armed, Ok(true)) {
        metrics.armed.inc();
    }
    if found.is_ok() {
        metrics.last_scan.set(seconds_since_1970());
    }
    let error = match (found, armed) {
        (Err(error), _) => Some(error.to_string()),
        (_, Err(error)) => Some(format!(
            "no hints from the system, only looks from time to time: {error}"
        )),
        _ => None,
    };
    // Without hints files are still found; without looks they are not.
    let healthy = found.is_ok();
    metrics.healthy.set(i64::from(healthy));
    if *was_healthy != Some(healthy) {
        match error {
            Some(error) => {
                tracing::warn!(folder = %folder.display(), healthy, %error, "watched folder has a problem")
            }
            None => tracing::info!(folder = %folder.display(), "watching folder"),
        }
        *was_healthy = Some(healthy);
    }
}
