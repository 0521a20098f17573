//! Locks on entries: a file beside the entry's folder, since the folder itself is renamed when it
//! is removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Holds an entry until it is dropped, or the process dies.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Guard {
    _file: File,
}

/// How an entry is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// To build it, or to remove it.
    Alone,
    /// To read it.
    Shared,
}

/// The lock; waits until no other process excludes it.
pub(crate) fn acquire(path: &Path, hold: Hold) -> io::Result<Guard> {
    loop {
        let file = open(path)?;
        match hold {
            Hold::Alone => file.lock()?,
            Hold::Shared => file.lock_shared()?,
        }
        if is_still_at(&file, path) {
            return Ok(Guard { _file: file });
        }
    }
}

/// The lock, unless another process holds it in a way that excludes this one.
pub(crate) fn try_acquire(path: &Path, hold: Hold) -> io::Result<Option<Guard>> {
    loop {
        let file = open(path)?;
        if !try_lock(&file, hold)? {
            return Ok(None);
        }
        if is_still_at(&file, path) {
            return Ok(Some(Guard { _file: file }));
        }
    }
}

/// Whether another process holds it alone. Creates no file, but excludes others for a moment.
pub(crate) fn is_held_alone(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(try_lock(&file, Hold::Shared), Ok(false)))
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn try_lock(file: &File, hold: Hold) -> io::Result<bool> {
    let taken = match hold {
        Hold::Alone => file.try_lock(),
        Hold::Shared => file.try_lock_shared(),
    };
    match taken {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whoever removes an entry removes its lock file, too. A lock on a removed file locks nothing.
fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
