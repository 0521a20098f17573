//! One look at the folder after the other: which files there are, and which have come to rest.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Arrival, Found, SETTLE};
use crate::intake::read_spec;
use crate::journal::FileStamp;

/// A file that the system says is being written is waited for no longer than this after its last change: the hint that
/// it was closed may have been lost.
const WRITER_PATIENCE: Duration = Duration::from_secs(5);

/// A file that nobody observed from its beginning, since it was there before the hints, may be half written; it must rest
/// for this long.
const UNOBSERVED: Duration = Duration::from_secs(1);

/// What earlier looks saw.
#[derive(Debug, Default)]
pub(super) struct Looks {
    files: HashMap<PathBuf, Seen>,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    /// When it was first seen so.
    since: Instant,
    /// Whether it was handed out so.
    taken: bool,
    /// Whether hints would have told of a writer.
    observed: bool,
}

/// What changes when a file does: size, times, and the file itself when it is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    content: FileStamp,
    identity: (u64, u64),
}

impl Looks {
    /// Looks at `folder` at the time `now`. `observed`: hints told of what happened since the last look.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn look(
        &mut self,
        folder: &Path,
        now: Instant,
        observed: bool,
        being_written: &HashSet<PathBuf>,
    ) -> io::Result<Found> {
        let present = specs_in(folder)?;
        self.files.retain(|path, _| present.contains_key(path));
        let mut found = Found::default();
        for (path, stamp) in present {
            let seen = self.files.entry(path.clone()).or_insert(Seen {
                stamp,
                since: now,
                taken: false,
                observed,
            });
            if seen.stamp != stamp {
                *seen = Seen {
                    stamp,
                    since: now,
                    taken: false,
                    observed,
                };
            }
            if seen.taken {
                continue;
            }
            let at_rest = now.duration_since(seen.since);
            let patience = match (being_written.contains(&path), seen.observed) {
                (true, _) => WRITER_PATIENCE,
                (false, false) => UNOBSERVED,
                (false, true) => SETTLE,
            };
            if at_rest < patience {
                found.unsettled = true;
                continue;
            }
            match read_at_rest(&path, stamp) {
                Ok(Some(text)) => {
                    seen.taken = true;
                    found.complete.push(Arrival { path, text });
                }
                Ok(None) => found.unsettled = true,
                Err(error) => {
                    // Perhaps it may be read later; until it changes, the next regular look tries again.
                    tracing::warn!(file = %path.display(), %error, "file in the watched folder cannot be read");
                }
            }
        }
        found.complete.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }
}

/// The content of a file, if it did not change while it was read.
fn read_at_rest(path: &Path, stamp: Stamp) -> io::Result<Option<Vec<u8>>> {
    let text = read_spec(path)?;
    Ok((Stamp::of(path)? == Some(stamp)).then_some(text))
}

impl Stamp {
    /// `None` for what is no file.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let metadata = fs::metadata(path)?;
        let stamp = Self {
            content: FileStamp::from(&metadata),
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

/// By its name: `*.yaml` or `*.yml`, and not hidden.
fn is_spec(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default();
    !name.starts_with('.') && (extension == "yaml" || extension == "yml")
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
        check(".a.yaml", false);
        check("a.yaml.tmp", false);
        check("a.yaml~", false);
        check("a.json", false);
    }

    #[test]
    fn a_file_is_handed_out_once_after_it_came_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let nobody = HashSet::new();
        let mut looks = Looks::default();
        let start = Instant::now();
        let mut look = |millis: u64| {
            looks
                .look(
                    folder.path(),
                    start + Duration::from_millis(millis),
                    true,
                    &nobody,
                )
                .unwrap()
        };

        fs::write(&path, "na").unwrap();
        assert!(look(0).unsettled);
        fs::write(&path, "name: a").unwrap();
        let found = look(200);
        assert!(
            found.unsettled && found.complete.is_empty(),
            "it changed between the looks"
        );
        let found = look(400);
        assert_eq!(
            (names(&found), found.unsettled),
            (vec!["a.yaml".to_owned()], false)
        );
        assert_eq!(found.complete[0].text, b"name: a");
        assert!(look(600).complete.is_empty());
        fs::remove_file(&path).unwrap();
        assert!(look(800).complete.is_empty());
        fs::write(&path, "name: b").unwrap();
        look(1000);
        assert_eq!(
            names(&look(1200)),
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
        let mut looks = Looks::default();
        let start = Instant::now();
        let mut look = |seconds: u64, writers: &HashSet<PathBuf>| {
            looks
                .look(
                    folder.path(),
                    start + Duration::from_secs(seconds),
                    true,
                    writers,
                )
                .unwrap()
        };
        assert!(look(0, &writer).unsettled);
        assert!(look(2, &writer).complete.is_empty());
        assert_eq!(names(&look(6, &writer)), ["a.yaml"]);
    }

    #[test]
    fn a_file_that_was_there_before_the_hints_must_rest_longer() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "name: a").unwrap();
        let mut looks = Looks::default();
        let start = Instant::now();
        let mut look = |millis: u64, observed: bool| {
            looks
                .look(
                    folder.path(),
                    start + Duration::from_millis(millis),
                    observed,
                    &HashSet::new(),
                )
                .unwrap()
        };
        assert!(look(0, false).unsettled);
        assert!(look(300, true).unsettled);
        assert_eq!(names(&look(1000, true)), ["a.yaml"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_forgets_nothing_else() {
        let mut looks = Looks::default();
        assert!(
            looks
                .look(Path::new("/nowhere"), Instant::now(), true, &HashSet::new())
                .is_err()
        );
    }
}
