//! From a file to a run: check the spec, fetch its model if it comes from a registry, compute the
//! run's identity, prepare its folder, put it in the queue.
//!
//! Admitting is idempotent: a file that was seen before, here or elsewhere, touched or saved again,
//! is the run that it was.

mod identity;
mod model;
mod rejected;
mod validate;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evopress_cache::{Cache, DigestCache};
use evopress_core::atomic_write;
use evopress_registries::{Endpoints, FetchError};
use evopress_spec::{Mistake, Plan, RejectedDir, RunDir};

use crate::journal::{Change, Journal, JournalError, NewRun, Origin, Run, RunState};
use crate::state_dir::StateDir;
use crate::worker_process::Worker;

pub use model::Fetching;
pub use validate::{Checked, read_spec, validate};

/// Admits specs.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Where runs and refusals are recorded.
    pub state: StateDir,
    /// The queue.
    pub journal: Arc<Journal>,
    /// Checks what only plugins know.
    pub worker: Arc<Worker>,
    /// Servers of registries that specs do not name.
    pub endpoints: Endpoints,
    /// Where the progress of a download is shown.
    pub fetching: Fetching,
}

/// The outcome for a spec.
#[derive(Debug)]
pub enum Admission {
    /// It is in the queue now.
    Queued(Run),
    /// There is a run of the same spec with the same inputs already.
    Known(Run),
    /// It has mistakes.
    Rejected {
        /// All of them.
        mistakes: Vec<Mistake>,
        /// Where they are recorded.
        record: RejectedDir,
    },
}

/// A failure on this side, because of which a spec is neither admitted nor refused.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The journal fails.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state folder cannot be written.
    #[error("cannot prepare the run: {0}")]
    Io(#[from] std::io::Error),
    /// The model cannot be fetched now.
    #[error(transparent)]
    Model(#[from] FetchError),
    /// A task was cancelled.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Digests that are in the cache come back within this time; then a known run is recognised without
/// starting the worker.
const KNOWN_DIGESTS: Duration = Duration::from_millis(25);

impl Intake {
    /// Admits the spec `text` of the file at `path`.
    ///
    /// # Errors
    /// The journal, the state folder or the registry that the model comes from fails; a bad spec is
    /// no error but an [`Admission::Rejected`].
    pub async fn admit(
        &self,
        path: &Path,
        text: &[u8],
        origin: Origin,
    ) -> Result<Admission, IntakeError> {
        let mut plan = match validate::plan_of(path, text, &self.worker).await {
            Ok(plan) => plan,
            Err(mistakes) => return self.reject(path, text, origin, mistakes),
        };
        if plan.model.location.origin().is_some() {
            // Mistakes in the rest of the spec are reported before gigabytes are fetched for it.
            let checked = validate::by_worker(path, text, &plan, &self.worker).await;
            if let Err(mistakes) = checked {
                return self.reject(path, text, origin, mistakes);
            }
        }
        let _held = match self.bring(&mut plan).await {
            Ok(held) => held,
            Err(IntakeError::Model(error)) if !error.is_passing() => {
                let message = error.to_string();
                let mistake = validate::mistake_at(path, text, "/model/source", &message);
                return self.reject(path, text, origin, vec![mistake]);
            }
            Err(error) => return Err(error),
        };

        let hashing = {
            let (digests, plan) = (self.digests(), plan.clone());
            let plugins = self.worker.tools().plugins.clone();
            tokio::task::spawn_blocking(move || identity::digests(&digests, &plan, &plugins))
        };
        tokio::pin!(hashing);
        let early = tokio::time::timeout(KNOWN_DIGESTS, &mut hashing).await.ok();
        if let Some(Ok(Ok(digests))) = &early
            && let Some(known) = self.known(&RunDir::run_id(&plan, digests), origin)?
        {
            rejected::forget(self, path)?;
            return Ok(Admission::Known(known));
        }
        let checking = validate::by_worker(path, text, &plan, &self.worker);
        let (hashed, checked) = match early {
            Some(hashed) => (hashed, checking.await),
            None => tokio::join!(hashing, checking),
        };
        let unreadable = |it: identity::Unreadable| vec![it.mistake(path, text)];
        let hashed = hashed.map_err(|_| IntakeError::Stopping)?;
        match checked.and_then(|_| hashed.map_err(unreadable)) {
            Ok(digests) => self.queue(path, text, origin, &RunDir::run_id(&plan, &digests), &plan),
            Err(mistakes) => self.reject(path, text, origin, mistakes),
        }
    }

    /// Whether the model of a spec comes from a registry, which may take long.
    pub fn comes_from_elsewhere(&self, path: &Path, text: &[u8]) -> bool {
        validate::offline(path, text, &self.worker.tools().data_roots)
            .is_ok_and(|plan| plan.model.location.origin().is_some())
    }

    fn digests(&self) -> DigestCache {
        Cache::at(&self.state.cache()).digests()
    }

    /// The run of this ID, if there is one that need not run again.
    fn known(&self, id: &str, origin: Origin) -> Result<Option<Run>, IntakeError> {
        let Some(run) = self.journal.get(id)? else {
            return Ok(None);
        };
        let folder_is_gone = !RunDir::of_run(self.state.root(), id).path().exists();
        let asked_again = origin == Origin::Command && run.state == RunState::Failed;
        if run.state.is_final() && (folder_is_gone || asked_again) {
            // Its folder was deleted so that it runs again, or a command asks for what failed.
            return Ok(None);
        }
        // The daemon has the state folder to itself, so the command that began the run is gone.
        let adopted = origin == Origin::Watch && self.journal.adopt(id, Origin::Watch)?;
        if adopted && !run.state.is_final() && run.state != RunState::Queued {
            let change = Change::because(
                "a command began it, and the daemon continues it for the watched folder",
            );
            return Ok(Some(self.journal.transition(
                id,
                RunState::Queued,
                change,
            )?));
        }
        Ok(Some(run))
    }

    fn queue(
        &self,
        path: &Path,
        text: &[u8],
        origin: Origin,
        id: &str,
        plan: &Plan,
    ) -> Result<Admission, IntakeError> {
        if let Some(known) = self.known(id, origin)? {
            rejected::forget(self, path)?;
            return Ok(Admission::Known(known)); // another file of the same content was faster
        }
        let run_dir = RunDir::of_run(self.state.root(), id);
        prepare(&run_dir, text, plan)?;
        rejected::forget(self, path)?;
        let new = NewRun {
            id,
            name: &plan.name,
            origin,
            spec_path: path,
        };
        let unknown = || JournalError::Unknown(id.to_owned());
        if self.journal.add(&new)? {
            return Ok(Admission::Queued(
                self.journal.get(id)?.ok_or_else(unknown)?,
            ));
        }
        let run = self.journal.get(id)?.ok_or_else(unknown)?;
        if !run.state.is_final() {
            return Ok(Admission::Known(run));
        }
        forget_report(&run_dir)?;
        self.journal.adopt(id, origin)?;
        let again = Change {
            attempt: Some(1),
            reason: Some("begun anew".to_owned()),
        };
        Ok(Admission::Queued(self.journal.transition(
            id,
            RunState::Queued,
            again,
        )?))
    }
}

/// Writes what the worker starts from. The plan comes last: a run with a plan is complete.
fn prepare(run_dir: &RunDir, text: &[u8], plan: &Plan) -> std::io::Result<()> {
    std::fs::create_dir_all(run_dir.path())?;
    atomic_write(&run_dir.spec(), text)?;
    atomic_write(&run_dir.plan(), &serde_json::to_vec_pretty(plan)?)?;
    std::fs::File::open(run_dir.path().parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Removes the report of an earlier run: a run that starts again has none yet.
fn forget_report(run_dir: &RunDir) -> std::io::Result<()> {
    match std::fs::remove_file(run_dir.report_json()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
