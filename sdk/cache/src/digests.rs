//! Digests of files that were read before: a file of gigabytes is hashed once, not by every process
//! that asks.
//!
//! `CACHE/digests/HEX.json` holds the digest of one file and what the file system said of the file
//! at that time. The name is the digest of the file's path. A record counts only as long as size,
//! inode, time of the last change of the content and time of the last change of the inode are what
//! they were.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use evopress_core::digest::digest_folder;
use evopress_core::{atomic_write, digest_bytes, digest_reader};
use serde::{Deserialize, Serialize};

use crate::CacheError;
use crate::records::remove_outdated;
use crate::stamp::Stamp;

/// Digests by file. Several processes may use one folder at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestCache {
    folder: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    path: String,
    #[serde(flatten)]
    stamp: Stamp,
    sha256: String,
}

impl DigestCache {
    /// The folder's name in the cache; no kind of entries is called so.
    pub(crate) const FOLDER: &str = "digests";

    pub(crate) fn in_cache(root: &Path) -> Self {
        Self {
            folder: root.join(Self::FOLDER),
        }
    }

    /// SHA-256 of a file or a folder, as [`evopress_core::digest_path`] defines it. Files that have
    /// not changed since they were hashed are not read again.
    ///
    /// # Errors
    /// Something cannot be read. Where only the record cannot be written, the digest is returned
    /// and the next call reads the file again.
    pub fn digest_path(&self, path: &Path) -> io::Result<String> {
        if fs::metadata(path)?.is_dir() {
            digest_folder(path, |file| self.digest_file(file))
        } else {
            self.digest_file(path)
        }
    }

    fn digest_file(&self, path: &Path) -> io::Result<String> {
        let began = SystemTime::now();
        let stamp = Stamp::of(&fs::metadata(path)?);
        let known = self.load(path).filter(|record| record.stamp == stamp);
        if let Some(known) = known {
            return Ok(known.sha256);
        }
        let digest = digest_reader(File::open(path)?)?;
        if stamp.is_settled(began) && stamp == Stamp::of(&fs::metadata(path)?) {
            self.save(path, stamp, &digest);
        }
        Ok(digest)
    }

    /// Records the digest of a file that the caller has just written and read back, and that nobody
    /// else writes.
    pub fn record(&self, path: &Path, sha256: &str) {
        if let Ok(metadata) = fs::metadata(path) {
            self.save(path, Stamp::of(&metadata), sha256);
        }
    }

    /// Removes the records of files that have changed or are gone. Returns the bytes that they
    /// took.
    pub(crate) fn prune(&self) -> Result<u64, CacheError> {
        remove_outdated(&self.folder, |path| {
            read(path).is_some_and(|record| {
                let found = fs::metadata(&record.path);
                found.is_ok_and(|found| Stamp::of(&found) == record.stamp)
            })
        })
    }

    fn load(&self, path: &Path) -> Option<Record> {
        read(&self.file_of(path))
    }

    /// A record only saves time, so a failure to write it is none of the caller's.
    fn save(&self, path: &Path, stamp: Stamp, sha256: &str) {
        let record = Record {
            path: path.to_string_lossy().into_owned(),
            stamp,
            sha256: sha256.to_owned(),
        };
        let file = self.file_of(path);
        let _ = fs::create_dir_all(&self.folder)
            .and_then(|()| Ok(serde_json::to_vec(&record)?))
            .and_then(|text| atomic_write(&file, &text));
    }

    fn file_of(&self, path: &Path) -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let key = digest_bytes(path.as_os_str().as_bytes());
        self.folder.join(format!("{}.json", &key[..32]))
    }
}

fn read(file: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evopress_core::digest_path;

    use super::*;
    use crate::files::children;
    use crate::stamp::SETTLED;

    fn cache() -> (tempfile::TempDir, DigestCache, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let digests = DigestCache::in_cache(&folder.path().join("cache"));
        let model = folder.path().join("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("config.json"), "{}").unwrap();
        fs::write(model.join("weights"), "12345678").unwrap();
        (folder, digests, model)
    }

    #[test]
    fn a_recorded_digest_counts_until_the_file_changes() {
        let (_folder, digests, model) = cache();
        let weights = model.join("weights");
        let before = digest_path(&model).unwrap();
        assert_eq!(digests.digest_path(&model).unwrap(), before);
        digests.record(&weights, "from the cache");
        assert_eq!(digests.digest_path(&weights).unwrap(), "from the cache");
        assert_ne!(digests.digest_path(&model).unwrap(), before);
        // As long as before, with the old time, as a restored backup has it.
        let modified = fs::metadata(&weights).unwrap().modified().unwrap();
        fs::write(&weights, "87654321").unwrap();
        let file = File::options().write(true).open(&weights).unwrap();
        file.set_modified(modified).unwrap();
        let expected = digest_path(&weights).unwrap();
        assert_eq!(digests.digest_path(&weights).unwrap(), expected);
    }

    #[test]
    fn what_changed_a_moment_ago_is_not_recorded() {
        let (_folder, digests, model) = cache();
        digests.digest_path(&model).unwrap();
        assert!(digests.load(&model.join("weights")).is_none());
        let stamp = Stamp::of(&fs::metadata(model.join("weights")).unwrap());
        assert!(!stamp.is_settled(SystemTime::now()));
        assert!(stamp.is_settled(SystemTime::now() + SETTLED));
        assert!(!stamp.is_settled(SystemTime::now() - SETTLED));
    }

    #[test]
    fn what_is_settled_is_recorded_and_read_no_more() {
        let (folder, digests, _model) = cache();
        // No test can wait for a file of its own to settle, so this one is older than the test.
        let program = std::env::current_exe().unwrap();
        let digest = digests.digest_path(&program).unwrap();
        assert_eq!(digests.load(&program).unwrap().sha256, digest);
        digests.record(&program, "from the cache");
        assert_eq!(digests.digest_path(&program).unwrap(), "from the cache");
        assert_eq!(
            fs::read_dir(folder.path().join("cache")).unwrap().count(),
            1
        );
    }

    #[test]
    fn records_of_files_that_are_gone_are_pruned() {
        let (_folder, digests, model) = cache();
        for name in ["config.json", "weights"] {
            digests.record(&model.join(name), "a digest");
        }
        fs::remove_file(model.join("weights")).unwrap();
        for path in children(&digests.folder).unwrap() {
            let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(an_hour_ago).unwrap();
        }
        assert!(digests.prune().unwrap() > 0);
        assert!(digests.load(&model.join("weights")).is_none());
        assert!(digests.load(&model.join("config.json")).is_some());
    }
}
