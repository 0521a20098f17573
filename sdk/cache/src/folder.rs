//! The cache folder and what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::files::{children, size_bytes};
use crate::{CacheError, CheckCache, DigestCache, Entry, Manifest, lock};

/// A cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

/// An entry as it was found.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The entry.
    pub entry: Entry,
    /// Its manifest, where there is one that can be used.
    pub manifest: Option<Manifest>,
    /// The reason why there is none, though there is a file.
    pub warning: Option<String>,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// When it was last used.
    pub last_used: SystemTime,
    /// Its state.
    pub state: State,
}

/// The state of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything is there.
    Complete,
    /// A process is building it now.
    Building,
    /// Its builder was interrupted, and the next one continues.
    Unfinished,
}

impl State {
    /// Its name for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Complete => "complete",
            State::Building => "building",
            State::Unfinished => "unfinished",
        }
    }
}

impl Cache {
    /// The cache in this folder, which is made when it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        fs::create_dir_all(root).map_err(CacheError::at("create", root))?;
        Ok(Self::at(root))
    }

    /// The cache in this folder, which need not be there: then it is empty.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The digests of files that runs read, wherever these files are.
    pub fn digests(&self) -> DigestCache {
        DigestCache::in_cache(&self.root)
    }

    /// The checks that files have passed, wherever these files are.
    pub fn checks(&self) -> CheckCache {
        CheckCache::in_cache(&self.root)
    }

    /// The entry of this kind and key; its folder is made when it is not there.
    ///
    /// # Errors
    /// Kind or key is no plain name, or the folder cannot be made.
    pub fn entry(&self, kind: &str, key: &str) -> Result<Entry, CacheError> {
        let entry = Entry::at(&self.root, kind, key)?;
        entry.create()?;
        Ok(entry)
    }

    /// All entries, by kind and key. An entry that is removed meanwhile is left out.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, CacheError> {
        let mut listed = Vec::new();
        for entry in self.entries()? {
            let loaded = entry.load_manifest();
            let is_complete = loaded.manifest.as_ref().is_some_and(|it| it.is_complete);
            let state = match is_complete {
                _ if lock::is_held_alone(&entry.lock_file()) => State::Building,
                true => State::Complete,
                false => State::Unfinished,
            };
            listed.push(Listed {
                size_bytes: size_bytes(entry.path()),
                last_used: entry.last_used(),
                manifest: loaded.manifest,
                warning: loaded.warning,
                state,
                entry,
            });
        }
        Ok(listed)
    }

    fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        let mut entries = Vec::new();
        for kind in self.kinds()? {
            let kind_name = kind.file_name().unwrap_or_default().to_string_lossy();
            for path in children(&kind)? {
                let key = path.file_name().unwrap_or_default().to_string_lossy();
                // Other names are no entries: what is being removed, and whatever a person has put
                // there.
                if let Ok(entry) = Entry::at(&self.root, &kind_name, &key)
                    && path.is_dir()
                {
                    entries.push(entry);
                }
            }
        }
        Ok(entries)
    }

    /// The folders of the kinds.
    pub(crate) fn kinds(&self) -> Result<Vec<PathBuf>, CacheError> {
        let of_records = [DigestCache::FOLDER, CheckCache::FOLDER];
        let is_kind =
            |path: &PathBuf| path.is_dir() && !of_records.iter().any(|it| path.ends_with(it));
        Ok(children(&self.root)?.into_iter().filter(is_kind).collect())
    }
}
