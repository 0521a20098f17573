//! What survives a worker that dies: files in the run's `checkpoint/`, each written whole or not.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;

/// The checkpoint of a run. Each of its files says what it was made from, and is refused when that
/// is not what the run is made from now.
pub(crate) struct Checkpoint {
    folder: PathBuf,
    identity: Identity,
}

/// What files of a checkpoint hold, counted up when that changes. 2: the fast search has a phase.
const FORMAT: u32 = 2;

/// The part of a file that every version has; 0 where it is not there.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    format: u32,
}

/// A file of a checkpoint.
#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    format: u32,
    identity: Identity,
    content: T,
}

impl Checkpoint {
    /// Opens the checkpoint in `folder`, which is created if it is not there. `identity` is what
    /// the run is made from.
    pub(crate) fn open(folder: PathBuf, identity: Identity) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder, identity })
    }

    /// What was saved under `name`, if anything.
    ///
    /// # Errors
    /// A file that is damaged, of another version, or that was made from other inputs.
    pub(crate) fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let damaged = || format!("{}: the checkpoint is damaged", path.display());
        let Version { format } = serde_json::from_str(&text).with_context(damaged)?;
        if format != FORMAT {
            bail!(
                "{}: the checkpoint was written by another version of evopressd (format {format}, this one \
                 reads {FORMAT}), so the search cannot continue. Submit the spec again: it begins anew",
                path.display()
            );
        }
        let sealed: Sealed<T> = serde_json::from_str(&text).with_context(damaged)?;
        let changes = self.identity.changes_since(&sealed.identity);
        if !changes.is_empty() {
            bail!(
                "{}: the checkpoint was made from other inputs. Changed since then: {}. Restore what \
                 was changed, or start a new run",
                path.display(),
                changes.join(", ")
            );
        }
        Ok(Some(sealed.content))
    }

    /// Saves atomically: the file holds the old or the new content at every instant.
    pub(crate) fn save<T: Serialize>(&self, name: &str, content: &T) -> Result<()> {
        let sealed = Sealed {
            format: FORMAT,
            identity: self.identity.clone(),
            content,
        };
        let path = self.path(name);
        evopress_core::atomic_write(&path, &serde_json::to_vec(&sealed)?)
            .with_context(|| path.display().to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity;

    #[test]
    fn a_checkpoint_is_loaded_by_the_run_that_saved_it_and_by_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let open = |identity: &Identity| {
            Checkpoint::open(folder.path().to_owned(), identity.clone()).unwrap()
        };
        let before = identity::example();
        let checkpoint = open(&before);
        assert_eq!(checkpoint.load::<u32>("search").unwrap(), None);
        checkpoint.save("search", &7).unwrap();
        assert_eq!(open(&before).load::<u32>("search").unwrap(), Some(7));

        let mut now = before;
        let text = now.inputs.values_mut().next().unwrap();
        *text = "edited".to_owned();
        let error = open(&now).load::<u32>("search").unwrap_err().to_string();
        assert!(
            error.contains("Changed since then: /texts/calibration.txt. Restore"),
            "{error}"
        );
    }

    #[test]
    fn a_file_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::open(folder.path().to_owned(), identity::example()).unwrap();
        let text = r#"{"identity": "1f", "content": 7}"#;
        std::fs::write(folder.path().join("search.json"), text).unwrap();
        let error = checkpoint.load::<u32>("search").unwrap_err().to_string();
        assert!(
            error.contains("(format 0, this one reads 2), so the search cannot continue"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::open(folder.path().to_owned(), identity::example()).unwrap();
        std::fs::write(folder.path().join("search.json"), "{").unwrap();
        let error = checkpoint.load::<u32>("search").unwrap_err().to_string();
        assert!(
            error.ends_with("search.json: the checkpoint is damaged"),
            "{error}"
        );
    }
}
