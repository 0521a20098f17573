//! Digests of files that were hashed before and have not changed since.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::{OptionalExtension, params};

use super::{Journal, JournalError};

/// What tells that a file has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change, ns since 1970.
    pub mtime_ns: i64,
}

impl From<&Metadata> for FileStamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            mtime_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        }
    }
}

impl Journal {
    /// The SHA-256 of the file at `path`, if it was hashed while it had this stamp.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn digest(&self, path: &Path, stamp: FileStamp) -> Result<Option<String>, JournalError> {
        let found = self
            .connection()
            .query_row(
                "SELECT sha256 FROM digests WHERE path = ?1 AND size = ?2 AND mtime_ns = ?3",
                params![
                    path.to_string_lossy(),
                    stamp.size.cast_signed(),
                    stamp.mtime_ns
                ],
                |row| row.get(0),
            )
            .optional()?;
        Ok(found)
    }

    /// Remembers a digest.
    ///
    /// # Errors
    /// SQLite fails.
    pub fn remember_digest(
        &self,
        path: &Path,
        stamp: FileStamp,
        sha256: &str,
    ) -> Result<(), JournalError> {
        self.connection().execute(
            "INSERT OR REPLACE INTO digests (path, size, mtime_ns, sha256) VALUES (?1, ?2, ?3, ?4)",
            params![
                path.to_string_lossy(),
                stamp.size.cast_signed(),
                stamp.mtime_ns,
                sha256
            ],
        )?;
        Ok(())
    }
}
