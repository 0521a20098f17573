//! SHA-256 of the files that a run reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use evopress::source::Source;
use evopress_cache::DigestCache;
use evopress_spec::Plan;

/// A file and the SHA-256 of its bytes, hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileDigest {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

/// The files of a plan by what they are for. Whoever needs the digest of an input takes it from
/// here: no file is read for its digest more than once.
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
    /// Digests every file of the plan. Those that `cache` knows and that have not changed since are
    /// not read again.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn read(plan: &Plan, source: &Source, cache: &DigestCache) -> Result<Self> {
        let digest = |path: &Path| -> Result<FileDigest> {
            let sha256 = cache.digest_path(path);
            Ok(FileDigest {
                path: path.to_owned(),
                sha256: sha256.with_context(|| path.display().to_string())?,
            })
        };
        let model = source.digest_files();
        let model = model.iter().map(|file| digest(file));
        let evaluation = plan.evaluation.iter().map(|set| digest(&set.source));
        Ok(Self {
            model: model.collect::<Result<_>>()?,
            calibration: digest(&plan.calibration.source)?,
            database: digest(&plan.database.source)?,
            evaluation: evaluation.collect::<Result<_>>()?,
        })
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &FileDigest> {
        let texts = [&self.calibration, &self.database];
        self.model.iter().chain(texts).chain(&self.evaluation)
    }
}
