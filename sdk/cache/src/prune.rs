//! Keeps the cache within its limit: the least recently used entries are removed first, and none
//! that a process holds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use evopress_core::files::sync_folder;

use crate::files::{children, size_bytes};
use crate::lock::{self, Hold};
use crate::{Cache, CacheError, Listed};

/// What a prune has done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pruned {
    /// The entries that were removed, in this order.
    pub removed: Vec<Removed>,
    /// Bytes of files that killed processes had left, which were removed, too.
    pub leftover_bytes: u64,
    /// Entries that are left.
    pub num_entries: usize,
    /// Their bytes; more than the limit where what is in use takes more.
    pub size_bytes: u64,
    /// What could not be removed and why; one sentence each.
    pub failures: Vec<String>,
}

/// An entry that was removed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// Its title, empty where it had none yet.
    pub title: String,
    /// The bytes that it took.
    pub bytes: u64,
}

impl Pruned {
    /// Bytes that were freed.
    pub fn freed_bytes(&self) -> u64 {
        let removed: u64 = self.removed.iter().map(|entry| entry.bytes).sum();
        removed + self.leftover_bytes
    }
}

impl Cache {
    /// Removes what killed processes have left, then entries, the least recently used first, until
    /// all together take at most `max_bytes`. An entry stays if `is_needed` says so, or if any
    /// process builds or uses it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn prune(
        &self,
        max_bytes: u64,
        is_needed: &dyn Fn(&Listed) -> bool,
    ) -> Result<Pruned, CacheError> {
        let mut pruned = Pruned::default();
        self.remove_leftovers(&mut pruned)?;
        let mut entries = self.list()?;
        entries.sort_by(|a, b| (a.last_used, a.entry.path()).cmp(&(b.last_used, b.entry.path())));
        pruned.num_entries = entries.len();
        pruned.size_bytes = entries.iter().map(|listed| listed.size_bytes).sum();
        for listed in &entries {
            if pruned.size_bytes <= max_bytes {
                break;
            }
            if is_needed(listed) {
                continue;
            }
            match remove(listed) {
                Ok(false) => {}
                Ok(true) => {
                    pruned.num_entries -= 1;
                    pruned.size_bytes -= listed.size_bytes;
                    pruned.removed.push(describe(listed));
                }
                Err(error) => pruned.failures.push(error.to_string()),
            }
        }
        Ok(pruned)
    }

    fn remove_leftovers(&self, pruned: &mut Pruned) -> Result<(), CacheError> {
        for records in [self.digests().prune(), self.checks().prune()] {
            match records {
                Ok(bytes) => pruned.leftover_bytes += bytes,
                Err(error) => pruned.failures.push(error.to_string()),
            }
        }
        for kind in self.kinds()? {
            for path in children(&kind)? {
                let bytes = size_bytes(&path);
                let cleaned = if is_being_removed(&path) {
                    remove_folder(&path).map(|()| bytes)
                } else if path.is_dir() {
                    clean(&path)
                } else {
                    remove_orphaned_lock(&path).map(|()| 0)
                };
                match cleaned {
                    Ok(bytes) => pruned.leftover_bytes += bytes,
                    Err(error) => pruned
                        .failures
                        .push(CacheError::at("remove", &path)(error).to_string()),
                }
            }
        }
        Ok(())
    }
}

fn describe(listed: &Listed) -> Removed {
    let title = listed.manifest.as_ref().map(|it| it.title.clone());
    Removed {
        kind: listed.entry.kind().to_owned(),
        key: listed.entry.key().to_owned(),
        title: title.unwrap_or_default(),
        bytes: listed.size_bytes,
    }
}

/// Renames the entry first: what is left of it after a crash is no entry. Returns false where
/// another process holds it.
fn remove(listed: &Listed) -> Result<bool, CacheError> {
    let (folder, lock_file) = (listed.entry.path(), listed.entry.lock_file());
    let lock =
        lock::try_acquire(&lock_file, Hold::Alone).map_err(CacheError::at("lock", &lock_file))?;
    let Some(_alone) = lock else {
        return Ok(false);
    };
    // Somebody may have used it since it was listed; then it is no longer the least recently used.
    if listed.entry.last_used() > listed.last_used {
        return Ok(false);
    }
    let going = going(folder);
    fs::rename(folder, &going)
        .and_then(|()| sync_folder_of(folder))
        .and_then(|()| fs::remove_file(&lock_file))
        .and_then(|()| remove_folder(&going))
        .map_err(CacheError::at("remove", folder))?;
    Ok(true)
}

/// Brings a rename in the parent folder to the disk, so that no crash undoes it and keeps the
/// deletions after it.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// `.KEY.PID-N.removed` in the same folder.
fn going(folder: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let key = folder.file_name().unwrap_or_default().to_string_lossy();
    let process = std::process::id();
    folder.with_file_name(format!(".{key}.{process}-{count}{REMOVED}"))
}

const REMOVED: &str = ".removed";

fn is_being_removed(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(REMOVED)
}

/// Removes a folder. Another process may do so at the same time.
fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes temporary files of an entry that nobody builds, and the entry itself when there is
/// nothing in it.
fn clean(folder: &Path) -> io::Result<u64> {
    let lock_file = lock_beside(folder);
    let Some(_alone) = lock::try_acquire(&lock_file, Hold::Alone)? else {
        return Ok(0);
    };
    let mut bytes = 0;
    let mut is_empty = true;
    for path in fs::read_dir(folder)? {
        let path = path?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            bytes += size_bytes(&path);
            fs::remove_file(&path)?;
        } else {
            is_empty = false;
        }
    }
    if is_empty {
        fs::remove_dir(folder)?;
        fs::remove_file(&lock_file)?;
    }
    Ok(bytes)
}

/// Removes a lock file whose entry is gone.
fn remove_orphaned_lock(path: &Path) -> io::Result<()> {
    let is_lock = path
        .extension()
        .is_some_and(|extension| extension == "lock");
    if !is_lock || path.with_extension("").is_dir() {
        return Ok(());
    }
    match lock::try_acquire(path, Hold::Alone)? {
        // Its entry may have been made in this very moment, by one who waits for the lock.
        Some(_alone) if !path.with_extension("").is_dir() => fs::remove_file(path),
        _ => Ok(()),
    }
}

fn lock_beside(folder: &Path) -> PathBuf {
    let key = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!("{key}.lock"))
}
