//! A file as memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::SourceError;

/// A memory-mapped file that knows its name.
#[derive(Debug)]
pub struct MappedFile {
    pub(crate) path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let read = |cause| SourceError::Read {
            file: path.to_path_buf(),
            cause,
        };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the map is read-only and private to this process. Another process that shortens
        // the file while it is mapped would raise SIGBUS; models are replaced by rename, and a run
        // that dies so costs one attempt.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        Ok(Self {
            path: path.to_path_buf(),
            map,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Takes the pages that were read out of this process's memory. The system keeps them while it
    /// has room, and they come back when they are read again.
    pub fn release(&self) {
        // SAFETY: the map is of a file and read-only, so that its pages have the same content when they come back.
        // Where the system refuses they just stay.
        #[cfg(unix)]
        let _ = unsafe {
            self.map
                .unchecked_advise(memmap2::UncheckedAdvice::DontNeed)
        };
    }

    pub(crate) fn malformed(&self, what: impl Into<String>) -> SourceError {
        SourceError::malformed(&self.path, what)
    }
}
