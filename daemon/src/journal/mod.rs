//! The journal: which runs there are and in which state each is, true on disk at every instant.
//!
//! SQLite in WAL mode with `synchronous=FULL`: a transition that was logged has survived. The run's
//! own files say how far a search has come; the journal says which run is next.

mod publications;
mod runs;
mod schema;
mod state;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rusqlite::Connection;

pub use publications::{PENDING, Publication};
pub use runs::{Change, NewRun, Run};
pub use state::{Origin, RunState};

/// The open journal; share it behind an `Arc`.
#[derive(Debug)]
pub struct Journal {
    connection: Mutex<Connection>,
    transitions: prometheus::IntCounterVec,
}

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// What SQLite says.
    #[error("the journal {}: {error}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// A statement failed.
    #[error("the journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The database is from a later evopressd.
    #[error("the journal {} has version {found}, and this evopressd knows up to {known}; use a newer evopressd", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest version that this program reads.
        known: u32,
    },
    /// A run that does not exist.
    #[error("there is no run {0}")]
    Unknown(String),
    /// A transition that no run makes.
    #[error("run {id} is {from} and cannot become {to}")]
    Forbidden {
        /// The run.
        id: String,
        /// The state that it is in.
        from: RunState,
        /// The state that was requested.
        to: RunState,
    },
}

impl Journal {
    /// Opens the database at `path`, creating or upgrading it.
    ///
    /// # Errors
    /// It cannot be opened, or is from a later version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let connection = schema::open(path)?;
        Ok(Self {
            connection: Mutex::new(connection),
            transitions: transitions(),
        })
    }

    /// How often runs went into each state since this process started, for `/metrics`.
    #[must_use]
    pub fn transitions(&self) -> prometheus::IntCounterVec {
        self.transitions.clone()
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere cannot leave a transaction half done: rusqlite rolls back when it is
        // dropped.
        self.connection
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn transitions() -> prometheus::IntCounterVec {
    let options = prometheus::Opts::new(
        "evopress_run_transitions_total",
        "Runs that went into a state since the daemon started.",
    );
    let counter = prometheus::IntCounterVec::new(options, &["state"])
        .expect("the name and the label are valid");
    for state in RunState::ALL {
        let _ = counter.with_label_values(&[state.as_str()]);
    }
    counter
}
