//! What of a database is on disk, and the manifest that says so.
//!
//! A manifest names every file of its entry, so writing it after each layer would be quadratic in
//! layers: 18,432 layers make 3 MB of it. It is written often, but never for more than a small
//! share of the time; a file that a crash leaves without a name in it is made again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evopress_cache::{Entry, Manifest};

use crate::error::Result;

/// Time between two writes of the manifest, in times of what the last one took.
const WRITES_APART: u32 = 20;

/// The files of a cache entry that is being built, shared by the compute threads.
pub(crate) struct Ledger {
    entry: Entry,
    state: Mutex<State>,
}

struct State {
    manifest: Manifest,
    /// Whether the manifest on disk lacks a file.
    is_behind: bool,
    /// When the manifest may be written again.
    due: Instant,
}

impl Ledger {
    /// Goes on from what `manifest` names.
    pub(crate) fn new(entry: &Entry, manifest: Manifest) -> Self {
        Self {
            entry: entry.clone(),
            state: Mutex::new(State {
                manifest,
                is_behind: false,
                due: Instant::now(),
            }),
        }
    }

    /// Puts a file into the entry, durably; the manifest names it soon.
    ///
    /// # Errors
    /// The disk is full, or the folder cannot be written.
    pub(crate) fn commit(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let record = self.entry.commit_file(name, bytes)?;
        let mut state = self.state();
        state.manifest.files.insert(name.to_owned(), record);
        state.is_behind = true;
        match Instant::now() < state.due {
            true => Ok(()),
            false => self.write(&mut state),
        }
    }

    /// Writes the manifest, unless it is on disk as it is.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn save(&self) -> Result<()> {
        let mut state = self.state();
        match state.is_behind {
            true => self.write(&mut state),
            false => Ok(()),
        }
    }

    /// What is there.
    pub(crate) fn manifest(&self) -> Manifest {
        self.state().manifest.clone()
    }

    fn write(&self, state: &mut State) -> Result<()> {
        let began = Instant::now();
        self.entry.save_manifest(&state.manifest)?;
        state.is_behind = false;
        state.due = next(began, Instant::now());
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to write again after a write that `began` and `ended` then.
fn next(began: Instant, ended: Instant) -> Instant {
    let took: Duration = ended - began;
    ended + took * WRITES_APART
}

#[cfg(test)]
mod tests {
    use evopress_cache::Cache;
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_file_is_named_once_the_manifest_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Cache::open(folder.path())
            .unwrap()
            .entry("levels", "k")
            .unwrap();
        let _held = entry.lock_exclusive().unwrap();
        let ledger = Ledger::new(&entry, Manifest::new("levels", "k", "", Value::Null));
        // A manifest that took long is not written again at once.
        ledger.commit("a", b"1").unwrap();
        ledger.state().due = Instant::now() + Duration::from_secs(3600);
        ledger.commit("b", b"2").unwrap();
        let named = || entry.load_manifest().manifest.unwrap().files;
        assert_eq!(named().into_keys().collect::<Vec<_>>(), ["a"]);
        ledger.save().unwrap();
        assert_eq!(named(), ledger.manifest().files);
        assert_eq!(named().len(), 2);
    }

    #[test]
    fn writing_takes_a_small_share_of_the_time() {
        let began = Instant::now();
        let ended = began + Duration::from_millis(100);
        assert_eq!(next(began, ended) - ended, Duration::from_secs(2));
    }
}
