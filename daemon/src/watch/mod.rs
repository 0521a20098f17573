//! The watched folder: specs that are completely written come out.
//!
//! Events of the system (see `change_events`) only cause a scan; what counts is what a scan finds
//! (see `scan`). A scan follows each burst of events, follows soon after the last one while a file
//! is still changing, and happens every few seconds in any case: a network file system sends no
//! events, and neither does a folder that was deleted and made again.

mod change_events;
mod scan;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evopress_core::time::seconds_since_1970;
use tokio::sync::mpsc;

use change_events::ChangeEvents;
use scan::{FolderScan, Found};

use crate::metrics::WatcherMetrics;
use crate::stop::Stop;

pub use scan::{Arrival, SETTLE};

/// A folder that is not there is looked for this often: no event says that it came back.
const MISSING: Duration = Duration::from_secs(1);

/// One change causes several events; one scan follows all that come within this time.
const BURST: Duration = Duration::from_millis(10);

/// Watches `folder` until told to stop or nobody listens any more.
pub async fn watch_folder(
    folder: PathBuf,
    rescan: Duration,
    arrivals: mpsc::Sender<Arrival>,
    metrics: WatcherMetrics,
    stop: Stop,
) {
    let (mut events, mut changed) = ChangeEvents::new(folder.clone());
    let mut scan = FolderScan::new(folder.clone());
    let mut was_healthy = None;
    loop {
        // Subscribed before the scan: a change in between causes an event.
        let subscribed = events.subscribe();
        let is_observed = matches!(subscribed, Ok(false));
        let found = scan.poll(Instant::now(), is_observed, &events.being_written());
        note_health(&metrics, &folder, &subscribed, &found, &mut was_healthy);
        let missing = found.is_err();
        let Found {
            complete,
            is_unsettled,
        } = found.unwrap_or_default();
        for arrival in complete {
            if arrivals.send(arrival).await.is_err() {
                return;
            }
        }
        let pause = match (is_unsettled, missing) {
            (true, _) => SETTLE,
            (_, true) => rescan.min(MISSING),
            _ => rescan,
        };
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(pause) => {}
            Some(()) = changed.recv() => tokio::time::sleep(BURST).await,
        }
    }
}

/// Shows in the metrics whether specs are found, and logs when that changes.
fn note_health(
    metrics: &WatcherMetrics,
    folder: &Path,
    subscribed: &Result<bool, notify::Error>,
    found: &io::Result<Found>,
    was_healthy: &mut Option<bool>,
) {
    if matches!(subscribed, Ok(true)) {
        metrics.armed.inc();
    }
    if found.is_ok() {
        metrics.last_scan.set(seconds_since_1970());
    }
    let error = match (found, subscribed) {
        (Err(error), _) => Some(error.to_string()),
        (_, Err(error)) => Some(format!(
            "the system sends no events, so the folder is only scanned from time to time: {error}"
        )),
        _ => None,
    };
    // Files are found without events, and not without scans.
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
