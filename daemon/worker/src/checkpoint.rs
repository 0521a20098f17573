//! What survives a worker that dies: finished stages and the search's state after each generation.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use evopress::search::State;
use evopress::search::fast::Memory;
use evopress_spec::HistoryEntry;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::watch::Watched;

/// Files in the run's `checkpoint/`. Each belongs to one plan with one set of inputs and is refused otherwise.
pub(crate) struct Checkpoint {
    folder: PathBuf,
    identity: String,
}

/// The search after a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Search {
    pub(crate) state: State,
    /// Of a fast search.
    #[serde(default)]
    pub(crate) memory: Option<Memory>,
    pub(crate) forward_tokens: u64,
    pub(crate) seconds: f64,
    /// Of all compute threads' time, what went into decoding levels, a thread's share of it.
    pub(crate) switch_seconds: f64,
    pub(crate) history: Vec<HistoryEntry>,
    /// Held-out text along the way.
    #[serde(default)]
    pub(crate) watched: Watched,
}

#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    identity: String,
    content: T,
}

impl Checkpoint {
    /// `identity` is the digest of all that goes into the run.
    pub(crate) fn open(folder: PathBuf, identity: String) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder, identity })
    }

    /// What was saved under `name`, if anything.
    pub(crate) fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let sealed: Sealed<T> = serde_json::from_str(&text)
            .with_context(|| format!("{}: the checkpoint is damaged", path.display()))?;
        if sealed.identity != self.identity {
            bail!(
                "{}: the checkpoint belongs to other inputs (the model, a text, a plugin or the plan has changed since): \
                 start a new run",
                path.display()
            );
        }
        Ok(Some(sealed.content))
    }

    /// Saves atomically: the file holds the old or the new content at every instant.
    pub(crate) fn save<T: Serialize>(&self, name: &str, content: &T) -> Result<()> {
        let sealed = Sealed {
            identity: self.identity.clone(),
            content,
        };
        let path = self.path(name);
        evopress_spec::atomic_write(&path, &serde_json::to_vec(&sealed)?)
            .with_context(|| path.display().to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(format!("{name}.json"))
    }
}
