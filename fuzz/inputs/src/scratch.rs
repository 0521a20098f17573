//! A folder for the files of one input after the other.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use evopress_source::fixtures;
use tempfile::TempDir;

/// A folder, in memory where there is one, that is removed with this value.
pub(crate) struct Scratch(TempDir);

/// Linux's folder in memory.
const IN_MEMORY: &str = "/dev/shm";

impl Scratch {
    pub(crate) fn new() -> Self {
        let in_memory = Path::new(IN_MEMORY).is_dir() && std::env::var_os("TMPDIR").is_none();
        let folder = match in_memory {
            true => tempfile::tempdir_in(IN_MEMORY),
            false => tempfile::tempdir(),
        };
        Self(folder.expect("a temporary folder can be made"))
    }

    /// A folder with some files of one of `tests/fixtures`.
    pub(crate) fn with_files_of(fixture: &str, names: &[&str]) -> Self {
        let scratch = Self::new();
        for name in names {
            let source = fixtures::folder().join(fixture).join(name);
            fs::copy(source, scratch.file(name)).expect("a file of the fixtures can be copied");
        }
        scratch
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; returns its path.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, bytes).expect("a file can be written to the temporary folder");
        file
    }

    /// Removes a file that may be there.
    pub(crate) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.file(name));
    }
}

/// Appends bytes to a file.
pub(crate) fn append(file: &Path, bytes: &[u8]) {
    let file = fs::OpenOptions::new().append(true).open(file);
    let longer = file.and_then(|mut file| file.write_all(bytes));
    longer.expect("a file can be made longer");
}

/// Appends zeros to a file. They take no room until they are read.
pub(crate) fn append_zeros(file: &Path, size_bytes: u64) {
    let file = fs::OpenOptions::new().append(true).open(file);
    let longer = file.and_then(|file| file.set_len(file.metadata()?.len() + size_bytes));
    longer.expect("a file can be made longer");
}
