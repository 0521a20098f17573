//! Models that specs take from registries: fetched into the cache before the run gets its identity,
//! and from then on a folder or a file like any other.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use evopress_cache::Cache;
use evopress_core::digest_model;
use evopress_registries::{FetchProgress, Fetched, fetch, remove_damaged};
use evopress_spec::{ModelLocation, Origin, Plan};

use super::{Intake, IntakeError};
use crate::progress::megabytes;

/// Where the progress of a download is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetching {
    /// In the log.
    Logged,
    /// On stderr.
    Shown,
}

/// Time between two lines about a download.
const PAUSE: Duration = Duration::from_secs(10);
/// Time between two updates on a terminal, where one line is overwritten.
const PAUSE_ON_TERMINAL: Duration = Duration::from_millis(200);

impl Intake {
    /// Fetches the model of a plan, unless it is on this machine, and writes its location into the
    /// plan. It stays in the cache as long as the returned value lives.
    ///
    /// # Errors
    /// It cannot be fetched now.
    pub(super) async fn bring(&self, plan: &mut Plan) -> Result<Option<Fetched>, IntakeError> {
        let Some(mut origin) = plan.model.location.origin().cloned() else {
            return Ok(None);
        };
        let cache = Cache::at(&self.state.cache());
        let teller = Teller::new(self.fetching);
        let tell = |progress: &FetchProgress<'_>| teller.tell(progress);
        let mut fetched = fetch(&origin, &cache, &self.endpoints, &tell).await?;
        origin.version = Some(fetched.version.clone());
        if !self.is_what_it_was(&fetched).await? {
            drop(fetched);
            let damaged = (origin.clone(), cache.clone(), self.endpoints.clone());
            let looking = tokio::task::spawn_blocking(move || {
                let (origin, cache, endpoints) = damaged;
                remove_damaged(&origin, &cache, &endpoints)
            });
            looking.await.map_err(|_| IntakeError::Stopping)??;
            fetched = fetch(&origin, &cache, &self.endpoints, &tell).await?;
        }
        teller.end(&origin, &fetched);
        let path = fetched.path.clone();
        plan.model.location = ModelLocation::Fetched { path, origin };
        Ok(Some(fetched))
    }

    /// Whether the model still has the digest that it was fetched with. Files that arrived just
    /// now, or that have not changed since they were hashed, are not read.
    async fn is_what_it_was(&self, fetched: &Fetched) -> Result<bool, IntakeError> {
        let (digests, path) = (self.digests(), fetched.path.clone());
        let hashing = tokio::task::spawn_blocking(move || match path.is_dir() {
            true => digests.digest_path(&path),
            false => digest_model(&path, |file| digests.digest_path(file)),
        });
        let found = hashing.await.map_err(|_| IntakeError::Stopping)?;
        Ok(found.is_ok_and(|found| found == fetched.digest))
    }
}

/// Shows the progress of a download, not too often.
struct Teller {
    fetching: Fetching,
    on_terminal: bool,
    last: Mutex<Option<Instant>>,
}

impl Teller {
    fn new(fetching: Fetching) -> Self {
        Self {
            fetching,
            on_terminal: fetching == Fetching::Shown && std::io::stderr().is_terminal(),
            last: Mutex::new(None),
        }
    }

    fn tell(&self, progress: &FetchProgress<'_>) {
        let pause = if self.on_terminal {
            PAUSE_ON_TERMINAL
        } else {
            PAUSE
        };
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        if last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        *last = Some(Instant::now());
        let (address, file) = (progress.address, progress.file);
        let (done_bytes, total_bytes) = (progress.done_bytes, progress.total_bytes);
        let (done, total) = (megabytes(done_bytes), megabytes(total_bytes));
        match (self.fetching, self.on_terminal) {
            (Fetching::Logged, _) => {
                tracing::info!(%address, file, done_bytes, total_bytes, "fetching a model");
            }
            (Fetching::Shown, true) => {
                eprint!("\r\x1b[2Kfetching {address}: {done} of {total}");
                let _ = std::io::stderr().flush(); // it is only for the eye
            }
            (Fetching::Shown, false) => eprintln!("fetching {address}: {done} of {total}"),
        }
    }

    fn end(&self, origin: &Origin, fetched: &Fetched) {
        if self.last.lock().is_ok_and(|last| last.is_none()) {
            return; // all of it was here
        }
        let (address, version) = (&origin.address, &fetched.version);
        let (path, bytes) = (fetched.path.display(), fetched.fetched_bytes);
        match (self.fetching, self.on_terminal) {
            (Fetching::Logged, _) => {
                tracing::info!(%address, version, %path, bytes, "model is fetched");
            }
            (Fetching::Shown, on_terminal) => {
                let start = if on_terminal { "\r\x1b[2K" } else { "" };
                eprintln!("{start}fetched {address}: {}", megabytes(bytes));
            }
        }
    }
}
