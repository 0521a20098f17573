//! Size and digests of a file, while its bytes arrive.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use evopress_core::Hasher;
use sha1::{Digest, Sha1};

use super::FetchError;
use super::error::ErrorContext;
use super::listing::{FileDigest, RemoteFile};

/// Size and digests of the bytes that have arrived.
pub(super) struct Hashes {
    pub(super) num_bytes: u64,
    sha256: Hasher,
    /// Only where the source tells the digest of Git.
    git: Option<Sha1>,
}

impl Hashes {
    /// No bytes of `of` yet. Git hashes a header with the size of the whole before the first byte.
    pub(super) fn new(of: &RemoteFile) -> Self {
        let is_git = matches!(of.digest, Some(FileDigest::GitSha1(_)));
        let head = format!("blob {}\0", of.size_bytes);
        Self {
            num_bytes: 0,
            sha256: Hasher::new(),
            git: is_git.then(|| Sha1::new_with_prefix(head)),
        }
    }

    /// Takes the bytes that an earlier attempt has left in `part`.
    pub(super) fn after(mut self, part: &Path) -> Result<Self, FetchError> {
        let read = |error| FetchError::io("read", part)(error);
        let mut file = File::open(part).map_err(read)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer).map_err(read)?;
            if count == 0 {
                return Ok(self);
            }
            self.update(&buffer[..count]);
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.num_bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    /// The SHA-256 of the bytes, if they are those of the file.
    ///
    /// # Errors
    /// Size or digest is another than the source tells.
    pub(super) fn check(
        self,
        file: &RemoteFile,
        context: &ErrorContext,
    ) -> Result<String, FetchError> {
        let sha256 = self.sha256.finish();
        let damaged =
            |found: String, expected: String| Err(context.damaged(&file.name, found, expected));
        if self.num_bytes != file.size_bytes {
            let bytes = |count: u64| format!("{count} bytes");
            return damaged(bytes(self.num_bytes), bytes(file.size_bytes));
        }
        match &file.digest {
            Some(FileDigest::Sha256(expected)) if *expected != sha256 => {
                damaged(format!("SHA-256 {sha256}"), expected.clone())
            }
            Some(FileDigest::GitSha1(expected)) => {
                let found = self
                    .git
                    .map_or_else(String::new, |git| hex::encode(git.finalize()));
                if found == *expected {
                    return Ok(sha256);
                }
                damaged(format!("Git object ID {found}"), expected.clone())
            }
            _ => Ok(sha256),
        }
    }
}
