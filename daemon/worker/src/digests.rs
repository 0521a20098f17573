//! SHA-256 of the files that a run reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use evopress::source::Source;
use evopress_spec::{Plan, digest_path};

/// A file and the SHA-256 of its bytes, hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileDigest {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

/// The files of a plan by what they are for. Whoever needs the digest of an input takes it from
/// here, so that a file is read for its digest once.
#[derive(Debug)]
pub(crate) struct Digests {
    /// Configuration, tokenizer and weights.
    pub(crate) model: Vec<FileDigest>,
    /// The text of the search.
    pub(crate) calibration: FileDigest,
    /// The text that level databases are built from.
    pub(crate) database: FileDigest,
    /// The held-out texts, in the order of the plan.
    pub(crate) evaluation: Vec<FileDigest>,
}

impl Digests {
    /// Reads every file of the plan. A file with several purposes is read once.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn read(plan: &Plan, source: &Source) -> Result<Self> {
        let mut known: BTreeMap<PathBuf, String> = BTreeMap::new();
        let mut digest = |path: &Path| -> Result<FileDigest> {
            let sha256 = match known.get(path) {
                Some(sha256) => sha256.clone(),
                None => digest_path(path).with_context(|| path.display().to_string())?,
            };
            known.insert(path.to_owned(), sha256.clone());
            Ok(FileDigest {
                path: path.to_owned(),
                sha256,
            })
        };
        let model = source.digest_files();
        Ok(Self {
            model: model
                .iter()
                .map(|file| digest(file))
                .collect::<Result<_>>()?,
            calibration: digest(&plan.calibration.source)?,
            database: digest(&plan.database.source)?,
            evaluation: plan
                .evaluation
                .iter()
                .map(|set| digest(&set.source))
                .collect::<Result<_>>()?,
        })
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &FileDigest> {
        let texts = [&self.calibration, &self.database];
        self.model.iter().chain(texts).chain(&self.evaluation)
    }
}
