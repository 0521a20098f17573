//! Writing that a crash leaves either undone or complete: a temporary name in the same folder,
//! fsync, rename, fsync of the folder.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that is being written under a temporary name in its folder. [`AtomicFile::commit`] gives
/// it its name; dropped before, it is removed.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    /// `None` after the file has got its name.
    out: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Creates the temporary file beside `path`: `.NAME.PID-N.tmp`. Watchers ignore such names, and
    /// no two writers share one.
    ///
    /// # Errors
    /// The path has no file name, or the folder is not there or cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let temporary = temporary_beside(path)?;
        // In a container every process may be number 1: the process before, which was killed, may
        // have left a file of this name. So it need not be a new one.
        let file = File::create(&temporary)?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            out: Some(BufWriter::with_capacity(1 << 20, file)),
        })
    }

    /// Brings the bytes to the disk and gives the file its name, in place of what has that name
    /// now.
    ///
    /// # Errors
    /// The disk is full or fails. What had the name before keeps it.
    pub fn commit(mut self) -> io::Result<()> {
        self.writer()?.flush()?;
        self.writer()?.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.out = None;
        sync_folder(folder_of(&self.path))
    }

    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        let closed = || io::Error::other("the file has its name already");
        self.out.as_mut().ok_or_else(closed)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            // Without this the buffer would be written to a file that nobody wants.
            drop(out.into_parts());
            // The first error says more than a failure to clean up.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a whole file, so that every reader, also after a crash, finds the old or the new content
/// and nothing between.
///
/// # Errors
/// The folder is not there or cannot be written; no temporary file is left then.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Brings a file that was written by others to the disk, then renames it; both names are on one
/// file system. After a crash the file has the old name or the new one. A folder's files are
/// synchronised by [`sync_tree`].
///
/// # Errors
/// The file is not there, or its new name is on another file system.
pub fn rename_synced(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    sync_folder(folder_of(to))
}

/// Brings the names in a folder to the disk: after a crash it lists what it lists now.
///
/// # Errors
/// The folder cannot be opened.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Brings a folder to the disk with all files and folders in it.
///
/// # Errors
/// Something in it cannot be opened.
pub fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    sync_folder(folder)
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path has no file name"))?;
    let (name, process) = (name.to_string_lossy(), std::process::id());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    Ok(path.with_file_name(format!(".{name}.{process}-{count}.tmp")))
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
    fn a_file_that_is_not_committed_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        atomic_write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(&vec![7; 3 << 20]).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
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

    #[test]
    fn a_folder_written_aside_gets_its_name_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (aside, target) = (folder.path().join("model.tmp"), folder.path().join("model"));
        fs::create_dir_all(aside.join("gptq")).unwrap();
        fs::write(aside.join("gptq/config.json"), "{}").unwrap();
        sync_tree(&aside).unwrap();
        rename_synced(&aside, &target).unwrap();
        assert_eq!(fs::read(target.join("gptq/config.json")).unwrap(), b"{}");
        assert!(!aside.exists());
    }
}
