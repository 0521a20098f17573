//! Checks that files have passed: what reads gigabytes is done once, not by every process that
//! asks.
//!
//! `CACHE/checks/HEX.json` names a check, the files that have passed it together, and what the file
//! system said of each. Its own name is a digest of the check's and of the files' paths. A record
//! counts as long as all of the files are what they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use evopress_core::{atomic_write, digest_bytes};
use serde::{Deserialize, Serialize};

use crate::CacheError;
use crate::records::remove_outdated;
use crate::stamp::Stamp;

/// Checks by their files. Several processes may use one folder at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckCache {
    folder: PathBuf,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    check: String,
    files: Vec<(String, Stamp)>,
}

impl CheckCache {
    /// The folder's name in the cache; no kind of entries is called so.
    pub(crate) const FOLDER: &str = "checks";

    pub(crate) fn in_cache(root: &Path) -> Self {
        Self {
            folder: root.join(Self::FOLDER),
        }
    }

    /// Does a check of some files, unless they have passed it and have not changed since. `name`
    /// says which check it is, and which version of it. The check returns whether the files have
    /// passed; what is not done to its end is done again.
    ///
    /// # Errors
    /// Those of the check.
    pub fn once<E>(
        &self,
        name: &str,
        files: &[PathBuf],
        check: impl FnOnce() -> Result<bool, E>,
    ) -> Result<bool, E> {
        let began = SystemTime::now();
        let before = Record::of(name, files);
        let file = self.file_of(name, files);
        if before.is_some() && read(&file) == before {
            return Ok(true);
        }
        if !check()? {
            return Ok(false);
        }
        let is_settled = |(_, stamp): &(String, Stamp)| stamp.is_settled(began);
        if let Some(record) = before.filter(|it| it.files.iter().all(is_settled))
            && Some(&record) == Record::of(name, files).as_ref()
        {
            // A record only saves time, so a failure to write it is none of the caller's.
            let _ = fs::create_dir_all(&self.folder)
                .and_then(|()| Ok(serde_json::to_vec(&record)?))
                .and_then(|text| atomic_write(&file, &text));
        }
        Ok(true)
    }

    /// Removes the records of files that have changed or are gone. Returns the bytes that they
    /// took.
    pub(crate) fn prune(&self) -> Result<u64, CacheError> {
        remove_outdated(&self.folder, |path| {
            read(path).is_some_and(|record| {
                let files: Vec<PathBuf> = record.files.iter().map(|(it, _)| it.into()).collect();
                Record::of(&record.check, &files).is_some_and(|now| now == record)
            })
        })
    }

    fn file_of(&self, name: &str, files: &[PathBuf]) -> PathBuf {
        let paths = files.iter().map(|file| absolute(file));
        let all: String = paths.map(|path| format!("\n{path}")).collect();
        let key = digest_bytes(format!("{name}{all}").as_bytes());
        self.folder.join(format!("{}.json", &key[..32]))
    }
}

impl Record {
    /// What is so of the files now; none where one cannot be seen.
    fn of(check: &str, files: &[PathBuf]) -> Option<Self> {
        let files = files.iter().map(|file| {
            let metadata = fs::metadata(file).ok()?;
            Some((absolute(file), Stamp::of(&metadata)))
        });
        Some(Self {
            check: check.to_owned(),
            files: files.collect::<Option<_>>()?,
        })
    }
}

fn read(file: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Checked {
        cache: CheckCache,
        files: Vec<PathBuf>,
        times: Cell<usize>,
    }

    impl Checked {
        fn check(&self, name: &str) -> Result<bool, &'static str> {
            self.cache.once(name, &self.files, || {
                self.times.set(self.times.get() + 1);
                match name {
                    "bad" => Err("it is bad"),
                    "half done" => Ok(false),
                    _ => Ok(true),
                }
            })
        }

        /// How often the check is done when it is asked for twice.
        fn times(&self, name: &str) -> usize {
            self.times.set(0);
            let (first, second) = (self.check(name), self.check(name));
            assert_eq!(first, second);
            self.times.get()
        }
    }

    fn checked(root: &Path, files: Vec<PathBuf>) -> Checked {
        Checked {
            cache: CheckCache::in_cache(root),
            files,
            times: Cell::new(0),
        }
    }

    /// No test can wait for a file of its own to settle, so this one is older than the test.
    fn settled() -> PathBuf {
        std::env::current_exe().unwrap()
    }

    #[test]
    fn what_is_settled_is_checked_once() {
        let folder = tempfile::tempdir().unwrap();
        let all = checked(folder.path(), vec![settled()]);
        assert_eq!(all.times("good"), 1);
        assert_eq!(all.times("good"), 0);
        assert_eq!(all.times("another"), 1);
        assert_eq!(all.times("bad"), 2);
        assert_eq!(all.times("half done"), 2);
    }

    #[test]
    fn what_changes_is_checked_again() {
        let folder = tempfile::tempdir().unwrap();
        let young = folder.path().join("weights");
        fs::write(&young, "1234").unwrap();
        let all = checked(folder.path(), vec![settled(), young.clone()]);
        assert_eq!(all.times("good"), 2, "it may change within a tick");
        fs::remove_file(young).unwrap();
        assert_eq!(all.times("good"), 2, "it cannot be seen");
    }

    #[test]
    fn records_that_count_no_more_are_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let all = checked(folder.path(), vec![settled()]);
        assert_eq!(all.times("good"), 1);
        let file = all.cache.file_of("good", &all.files);
        let an_hour_ago = SystemTime::now() - std::time::Duration::from_secs(3600);
        let age = || {
            let file = fs::File::options().write(true).open(&file).unwrap();
            file.set_modified(an_hour_ago).unwrap();
        };
        age();
        assert_eq!(all.cache.prune().unwrap(), 0);
        assert_eq!(all.times("good"), 0);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"size_bytes\":", "\"size_bytes\":1")).unwrap();
        age();
        assert!(all.cache.prune().unwrap() > 0);
        assert_eq!(all.times("good"), 1);
    }
}
