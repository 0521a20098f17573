//! SHA-256 of the files that a run reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
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

    /// Holds every file against its digest again: a result of files that changed on the way is of
    /// neither state. Files that `cache` knows and that have not changed are not read.
    ///
    /// # Errors
    /// The first file that is another one now, or gone.
    pub(crate) fn check_unchanged(&self, cache: &DigestCache) -> Result<()> {
        for file in self.iter() {
            let path = file.path.display();
            let found = cache.digest_path(&file.path);
            let found = found.with_context(|| format!("{path} was read by this run, and now"))?;
            if found != file.sha256 {
                bail!(
                    "{path} has changed while this run read it, so its result is of neither state; run it again"
                );
            }
        }
        Ok(())
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &FileDigest> {
        let texts = [&self.calibration, &self.database];
        self.model.iter().chain(texts).chain(&self.evaluation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cache = evopress_cache::Cache::open(&folder.path().join("cache")).unwrap();
        let known = cache.digests();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            let sha256 = known.digest_path(&path).unwrap();
            FileDigest { path, sha256 }
        };
        let digests = Digests {
            model: vec![file("config.json"), file("model.safetensors")],
            calibration: file("calibration.txt"),
            database: file("database.txt"),
            evaluation: vec![file("evaluation.txt")],
        };
        digests.check_unchanged(&known).unwrap();
        let weights = &digests.model[1].path;
        std::fs::write(weights, "other weights").unwrap();
        let error = digests.check_unchanged(&known).unwrap_err().to_string();
        let expected = "model.safetensors has changed while this run read it";
        assert!(error.contains(expected), "{error}");
        std::fs::remove_file(weights).unwrap();
        let error = digests.check_unchanged(&known).unwrap_err().to_string();
        assert!(
            error.contains("model.safetensors was read by this run"),
            "{error}"
        );
    }
}
