//! Writing that leaves a file either as it was or as it shall be.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file so that every reader, also after a crash, finds the old or the new content and nothing between:
/// temporary name in the same folder, fsync, rename, fsync of the folder.
///
/// # Errors
/// The folder is not there or cannot be written; the temporary file is removed then.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let result = write_and_sync(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = result {
        // The first error says more than a failure to clean up.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(folder_of(path))?.sync_all()
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // In a container every process may be number 1: the one before, which was killed, may have left a file of this name.
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// `.NAME.PID-N.tmp` in the same folder: watchers ignore dot files and `*.tmp`, and no two writers share one.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path has no file name"))?;
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = format!(
        ".{}.{}-{count}.tmp",
        name.to_string_lossy(),
        std::process::id()
    );
    Ok(folder_of(path).join(temporary))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        atomic_write(&path, b"one").unwrap();
        atomic_write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_of_the_same_number_left_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        for count in 0..100 {
            let left = format!(".plan.json.{}-{count}.tmp", std::process::id());
            fs::write(folder.path().join(left), b"half of something longer").unwrap();
        }
        atomic_write(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("inside"), b"").unwrap();
        assert!(atomic_write(&taken, b"text").is_err());
        assert!(atomic_write(&folder.path().join("missing/plan.json"), b"text").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
