//! The state folder: where everything is, and which process uses it.
//!
//! A daemon has the folder to itself. One-shot runs (`evopressd run`) may share it with each other,
//! not with a daemon; each run in it then has a lock of its own, so that no two processes drive one
//! run.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A folder that the daemon keeps its runs, journal and rejected specs in.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

/// How a process means to use the state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Alone: the daemon.
    Alone,
    /// Beside other one-shot runs.
    Shared,
}

/// Holds the state folder until it is dropped, or the process dies.
#[derive(Debug)]
pub struct Held {
    _lock: File,
}

/// The reason why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another process holds it.
    #[error("the state folder {} is in use by another evopressd{holder}; stop that one, or give this one a folder of its own with --state", root.display())]
    InUse {
        /// The folder.
        root: PathBuf,
        /// " (process 123)" where it is known.
        holder: String,
    },
    /// It cannot be made or written.
    #[error("cannot use {} as the state folder: {error}", root.display())]
    Unusable {
        /// The folder.
        root: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl StateDir {
    /// The folder at `root`, made absolute, with its subfolders created.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(root: &Path) -> Result<Self, StateDirError> {
        let unusable = |error| StateDirError::Unusable {
            root: root.to_owned(),
            error,
        };
        let state = Self {
            root: std::path::absolute(root).map_err(unusable)?,
        };
        for folder in [state.runs(), state.rejected()] {
            fs::create_dir_all(folder).map_err(unusable)?;
        }
        Ok(state)
    }

    /// The folder at `root`, which some evopressd has used before.
    ///
    /// # Errors
    /// There is no journal in it.
    pub fn existing(root: &Path) -> Result<Self, StateDirError> {
        let unusable = |error| StateDirError::Unusable {
            root: root.to_owned(),
            error,
        };
        let state = Self {
            root: std::path::absolute(root).map_err(unusable)?,
        };
        if !state.journal().is_file() {
            return Err(unusable(io::Error::new(
                io::ErrorKind::NotFound,
                "no evopressd has worked there yet",
            )));
        }
        Ok(state)
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `runs/`, one folder per run.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// `rejected/`, one folder per spec that was refused.
    #[must_use]
    pub fn rejected(&self) -> PathBuf {
        self.root.join("rejected")
    }

    /// `cache/`, what runs share.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// The journal's database.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.db")
    }

    /// Whether the process that locked the folder last, whose number it holds, is alive.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let pid = fs::read_to_string(self.root.join("lock")).unwrap_or_default();
        let pid = pid.trim();
        !pid.is_empty() && Path::new("/proc").join(pid).exists()
    }

    /// Locks the folder for this process.
    ///
    /// # Errors
    /// Another process has it.
    pub fn hold(&self, how: Use) -> Result<Held, StateDirError> {
        let unusable = |error| StateDirError::Unusable {
            root: self.root.clone(),
            error,
        };
        let path = self.root.join("lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(unusable)?;
        let taken = match how {
            Use::Alone => lock.try_lock(),
            Use::Shared => lock.try_lock_shared(),
        };
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                let holder = match pid.trim() {
                    "" => String::new(),
                    pid => format!(" (process {pid})"),
                };
                return Err(StateDirError::InUse {
                    root: self.root.clone(),
                    holder,
                });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(Held { _lock: lock })
    }
}

/// Locks a file without waiting. Returns `None` when another process has the lock.
///
/// # Errors
/// The file cannot be created or locked at all.
pub fn try_lock_file(path: &Path) -> io::Result<Option<File>> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_alone_and_one_shot_runs_share() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let daemon = state.hold(Use::Alone).unwrap();
        let refusal = state.hold(Use::Alone).unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("(process {})", std::process::id())),
            "{refusal}"
        );
        assert!(state.hold(Use::Shared).is_err());
        drop(daemon);
        let _one = state.hold(Use::Shared).unwrap();
        let _two = state.hold(Use::Shared).unwrap();
        assert!(state.hold(Use::Alone).is_err());
    }
}
