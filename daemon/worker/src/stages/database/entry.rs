//! A cache entry that other processes may want, too: the first one builds it, the others wait.

use std::time::Duration;

use anyhow::Result;
use evopress_cache::{CacheError, Entry, Guard, Manifest};

use crate::compute::Compute;
use crate::recorder::Recorder;

/// Time between two tries to lock an entry that another process holds.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// An entry that is complete and intact.
pub(super) struct Ready {
    /// Holds the entry beside others that use it.
    pub(super) held: Guard,
    pub(super) manifest: Manifest,
    /// Whether it was there already.
    pub(super) reused: bool,
}

/// Returns `entry` complete, verified and held beside others. `build` is called where it is not
/// there, with the entry held by this process alone.
///
/// # Errors
/// The entry cannot be locked, `build` fails, or the run is asked to stop while it waits.
pub(super) fn ready(
    entry: &Entry,
    compute: &Compute,
    recorder: &Recorder,
    build: impl Fn() -> Result<()>,
) -> Result<Ready> {
    let mut reused = true;
    loop {
        let held = wait(compute, || entry.try_lock_shared())?;
        if let Some(manifest) = complete(entry, recorder) {
            return Ok(Ready {
                held,
                manifest,
                reused,
            });
        }
        drop(held);
        let _alone = wait(compute, || entry.try_lock_exclusive())?;
        // Another process may have built it meanwhile.
        if complete(entry, recorder).is_none() {
            build()?;
            reused = false;
        }
    }
}

/// Locks as soon as `try_lock` can, unless the run is asked to stop.
fn wait(
    compute: &Compute,
    try_lock: impl Fn() -> Result<Option<Guard>, CacheError>,
) -> Result<Guard> {
    let mut is_logged = false;
    loop {
        if let Some(guard) = try_lock()? {
            return Ok(guard);
        }
        if !is_logged {
            tracing::info!("another run is building the same level database: waiting for it");
            is_logged = true;
        }
        compute.check_stop()?;
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// The manifest of an entry that has every file, intact. Damaged files are warned of.
fn complete(entry: &Entry, recorder: &Recorder) -> Option<Manifest> {
    let manifest = entry.load_manifest().manifest?;
    if !manifest.is_complete {
        return None;
    }
    let damages = entry.verify();
    for damage in &damages {
        recorder.warn(format!(
            "{}: {}; this layer of the level database is built again",
            entry.path().join(&damage.file).display(),
            damage.reason
        ));
    }
    damages.is_empty().then_some(manifest)
}
