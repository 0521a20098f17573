//! `manifest.json` of an entry: what it is, what shaped it, and each file's size and digest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::CacheError;

/// The version that this code writes, and the only one that it reads.
pub const MANIFEST_VERSION: u32 = 1;

/// What an entry says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// The entry's key: SHA-256 of `inputs`, hex.
    pub key: String,
    /// The entry's kind: `levels`.
    pub kind: String,
    /// For people: `gptq on SmolLM2-135M-Instruct`.
    pub title: String,
    /// All that shaped the entry.
    pub inputs: Value,
    /// Whether every file that the entry shall have is there.
    pub is_complete: bool,
    /// Size and digest by file name.
    pub files: BTreeMap<String, FileRecord>,
    /// The owner's own notes.
    pub details: Value,
}

/// A file of an entry, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// What was found where a manifest should be.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    /// The manifest, unless there is none, or none that can be used.
    pub manifest: Option<Manifest>,
    /// The reason why a manifest that is there cannot be used; one sentence.
    pub warning: Option<String>,
}

impl Manifest {
    /// The manifest's name in the entry's folder.
    pub const FILE: &str = "manifest.json";

    /// An entry that has nothing yet.
    pub fn new(kind: &str, key: &str, title: &str, inputs: Value) -> Self {
        Self {
            version: MANIFEST_VERSION,
            key: key.to_owned(),
            kind: kind.to_owned(),
            title: title.to_owned(),
            inputs,
            is_complete: false,
            files: BTreeMap::new(),
            details: Value::Null,
        }
    }

    /// Writes it into an entry's folder; a crash leaves the old one or the new one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), CacheError> {
        let path = folder.join(Self::FILE);
        serde_json::to_vec_pretty(self)
            .map_err(io::Error::from)
            .and_then(|text| evopress_core::atomic_write(&path, &text))
            .map_err(CacheError::at("write", &path))
    }

    /// Reads it from an entry's folder. What is damaged or of another version is as good as absent.
    pub fn load(folder: &Path) -> Loaded {
        let path = folder.join(Self::FILE);
        let refused = |why: String| Loaded {
            manifest: None,
            warning: Some(format!("{} cannot be used: {why}", path.display())),
        };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Loaded::default(),
            Err(error) => return refused(error.to_string()),
        };
        let version = serde_json::from_slice::<Value>(&text)
            .ok()
            .and_then(|value| value["version"].as_u64());
        if let Some(version) = version.filter(|&version| version != u64::from(MANIFEST_VERSION)) {
            return refused(format!(
                "it has version {version}, expected {MANIFEST_VERSION}"
            ));
        }
        match serde_json::from_slice(&text) {
            Ok(manifest) => Loaded {
                manifest: Some(manifest),
                warning: None,
            },
            Err(error) => refused(format!("it is damaged: {error}")),
        }
    }
}
