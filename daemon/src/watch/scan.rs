//! Scans of the folder, one after the other: which specs there are, and which of them nobody is
//! writing any more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::intake::read_spec;

/// A file that was complete when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub text: Vec<u8>,
}

/// A file is complete when two scans at least this far apart find it unchanged.
pub const SETTLE: Duration = Duration::from_millis(150);

/// A file that the system says is being written is waited for no longer than this after its last
/// change: the event that says it was closed may have been lost.
const WRITER_PATIENCE: Duration = Duration::from_secs(5);

/// A file that was there before the system sent events may be half written; it must be unchanged
/// for this long.
const UNOBSERVED: Duration = Duration::from_secs(1);

/// A folder that is scanned again and again.
#[derive(Debug)]
pub(super) struct FolderScan {
    folder: PathBuf,
    files: HashMap<PathBuf, Seen>,
}

/// What one scan found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files that are complete and that no earlier scan returned as they are now, by path.
    pub(super) complete: Vec<Arrival>,
    /// Whether some file is still changing, so that the next scan should follow soon.
    pub(super) is_unsettled: bool,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    /// When it was first seen so.
    since: Instant,
    /// Whether it was returned so.
    is_returned: bool,
    /// Whether the system would have said that it is being written.
    is_observed: bool,
}

/// What tells one state of a file from another: its size, its time of change, and which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size_bytes: u64,
    changed: (i64, i64),
    identity: (u64, u64),
}

impl FolderScan {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            files: HashMap::new(),
        }
    }

    /// Scans the folder at the time `now`. `is_observed` says that the system sent events since the
    /// last scan, and `being_written` which files they say are open for writing.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        is_observed: bool,
        being_written: &HashSet<PathBuf>,
    ) -> io::Result<Found> {
        let present = specs_in(&self.folder)?;
        self.files.retain(|path, _| present.contains_key(path));
        let mut found = Found::default();
        for (path, stamp) in present {
            let new = || Seen {
                stamp,
                since: now,
                is_returned: false,
                is_observed,
            };
            let seen = self.files.entry(path.clone()).or_insert_with(new);
            if seen.stamp != stamp {
                *seen = new();
            }
            if seen.is_returned {
                continue;
            }
            let patience = match (being_written.contains(&path), seen.is_observed) {
                (true, _) => WRITER_PATIENCE,
                (false, false) => UNOBSERVED,
                (false, true) => SETTLE,
            };
            if now.duration_since(seen.since) < patience {
                found.is_unsettled = true;
                continue;
            }
            match read_unchanged(&path, stamp) {
                Ok(Some(text)) => {
                    seen.is_returned = true;
                    found.complete.push(Arrival { path, text });
                }
                Ok(None) => found.is_unsettled = true,
                Err(error) => {
                    // The next regular scan tries again.
                    tracing::warn!(file = %path.display(), %error, "file in the watched folder cannot be read");
                }
            }
        }
        found.complete.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

/// The content of a file, if it did not change while it was read.
fn read_unchanged(path: &Path, stamp: Stamp) -> io::Result<Option<Vec<u8>>> {
    let text = read_spec(path)?;
    Ok((Stamp::of(path)? == Some(stamp)).then_some(text))
}

impl Stamp {
    /// `None` for what is no file.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let metadata = fs::metadata(path)?;
        let stamp = Self {
            size_bytes: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
            identity: (metadata.dev(), metadata.ino()),
        };
        Ok(metadata.is_file().then_some(stamp))
    }
}

fn specs_in(folder: &Path) -> io::Result<HashMap<PathBuf, Stamp>> {
    let mut specs = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !is_spec(&path) {
            continue;
        }
        // It may be gone by now, or be a link to nothing; then it is not there.
        if let Ok(Some(stamp)) = Stamp::of(&path) {
            specs.insert(path, stamp);
        }
    }
    Ok(specs)
}

/// By its name: `*.yaml` or `*.yml`, in capitals too, and not hidden.
fn is_spec(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default();
    let is_yaml = ["yaml", "yml"]
        .iter()
        .any(|it| extension.eq_ignore_ascii_case(it));
    !name.starts_with('.') && is_yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &Found) -> Vec<String> {
        found
            .complete
            .iter()
            .map(|arrival| {
                arrival
                    .path
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    #[test]
    fn only_spec_files_count() {
        let check =
            |name: &str, expected: bool| assert_eq!(is_spec(Path::new(name)), expected, "{name}");
        check("a.yaml", true);
        check("a.yml", true);
        check("A.YAML", true);
        check("a.Yml", true);
        check(".a.yaml", false);
        check("a.yaml.tmp", false);
        check("a.yaml~", false);
        check("a.json", false);
    }

    #[test]
    fn a_file_is_returned_once_after_it_stopped_changing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let nobody = HashSet::new();
        let mut scan = FolderScan::new(folder.path().to_owned());
        let start = Instant::now();
        let mut poll = |millis: u64| {
            let now = start + Duration::from_millis(millis);
            scan.poll(now, true, &nobody).unwrap()
        };

        fs::write(&path, "na").unwrap();
        assert!(poll(0).is_unsettled);
        fs::write(&path, "name: a").unwrap();
        let found = poll(200);
        assert!(
            found.is_unsettled && found.complete.is_empty(),
            "it changed between the scans"
        );
        let found = poll(400);
        assert_eq!(
            (names(&found), found.is_unsettled),
            (vec!["a.yaml".to_owned()], false)
        );
        assert_eq!(found.complete[0].text, b"name: a");
        assert!(poll(600).complete.is_empty());
        fs::remove_file(&path).unwrap();
        assert!(poll(800).complete.is_empty());
        fs::write(&path, "name: b").unwrap();
        poll(1000);
        assert_eq!(
            names(&poll(1200)),
            ["a.yaml"],
            "a new file under an old name"
        );
    }

    #[test]
    fn an_open_writer_is_waited_for_but_not_forever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "name: half").unwrap();
        let writer = HashSet::from([path]);
        let mut scan = FolderScan::new(folder.path().to_owned());
        let start = Instant::now();
        let mut poll = |seconds: u64, writers: &HashSet<PathBuf>| {
            let now = start + Duration::from_secs(seconds);
            scan.poll(now, true, writers).unwrap()
        };
        assert!(poll(0, &writer).is_unsettled);
        assert!(poll(2, &writer).complete.is_empty());
        assert_eq!(names(&poll(6, &writer)), ["a.yaml"]);
    }

    #[test]
    fn a_file_that_was_there_before_the_events_is_waited_for_longer() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "name: a").unwrap();
        let mut scan = FolderScan::new(folder.path().to_owned());
        let start = Instant::now();
        let mut poll = |millis: u64, observed: bool| {
            let now = start + Duration::from_millis(millis);
            scan.poll(now, observed, &HashSet::new()).unwrap()
        };
        assert!(poll(0, false).is_unsettled);
        assert!(poll(300, true).is_unsettled);
        assert_eq!(names(&poll(1000, true)), ["a.yaml"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let mut scan = FolderScan::new(PathBuf::from("/nowhere"));
        let found = scan.poll(Instant::now(), true, &HashSet::new());
        assert!(found.is_err());
    }
}
