//! Digests of everything that a run reads. Files that have not changed since they were hashed are
//! not read again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evopress_cache::DigestCache;
use evopress_core::{digest_bytes, digest_model};
use evopress_spec::{InputDigests, Mistake, Plan};

/// An input that cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    path: PathBuf,
    pointer: String,
    error: io::Error,
}

impl Unreadable {
    pub(super) fn mistake(&self, spec: &Path, text: &[u8]) -> Mistake {
        let message = format!("{} cannot be read: {}", self.path.display(), self.error);
        super::validate::mistake_at(spec, text, &self.pointer, &message)
    }
}

pub(super) fn digests(
    cache: &DigestCache,
    plan: &Plan,
    plugins: &Path,
) -> Result<InputDigests, Unreadable> {
    let digest = |path: &Path, pointer: &str| digest_file(cache, path, pointer);
    let not_fetched = || Unreadable {
        path: PathBuf::from("the model"),
        pointer: "/model/source".to_owned(),
        error: io::Error::new(io::ErrorKind::NotFound, "it is not fetched yet"),
    };
    let model = plan.model.location.path().ok_or_else(not_fetched)?;
    let mut digests = InputDigests {
        model: digest_model(model, |file| digest(file, "/model/source"))?,
        calibration: digest(&plan.calibration.source, "/calibration/source")?,
        database: digest(&plan.database.source, "/database/source")?,
        ..InputDigests::default()
    };
    for (idx, set) in plan.evaluation.iter().enumerate() {
        digests
            .evaluation
            .push(digest(&set.source, &format!("/evaluation/{idx}/source"))?);
    }
    let named = plan
        .methods
        .iter()
        .enumerate()
        .map(|(idx, used)| (used, format!("/methods/{idx}/plugin")));
    for (used, pointer) in
        named.chain([(&plan.search.fitness, "/search/fitness/plugin".to_owned())])
    {
        let whole = all(cache, &plugin_files(plugins, &used.plugin), &pointer)?;
        digests.plugins.insert(used.plugin.clone(), whole);
    }
    Ok(digests)
}

/// The digest of a file; `pointer` is where the spec names it or what it is part of.
fn digest_file(cache: &DigestCache, path: &Path, pointer: &str) -> Result<String, Unreadable> {
    cache.digest_path(path).map_err(|error| Unreadable {
        path: path.to_owned(),
        pointer: pointer.to_owned(),
        error,
    })
}

/// The digest of one file; of several, that of their digests.
fn all(cache: &DigestCache, files: &[PathBuf], pointer: &str) -> Result<String, Unreadable> {
    let found = files.iter().map(|file| digest_file(cache, file, pointer));
    let found: Vec<String> = found.collect::<Result<_, _>>()?;
    Ok(match found.as_slice() {
        [one] => one.clone(),
        several => digest_bytes(several.join("\n").as_bytes()),
    })
}

/// The file of a plugin: `libevopress_NAME.so`. Where a plugin's file is named otherwise, any of
/// the folder may be it, and a change of any makes a new run. A plugin that is not there at all is
/// the worker's to report.
fn plugin_files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let file = folder.join(format!("libevopress_{}.so", name.replace('-', "_")));
    if file.is_file() {
        return vec![file];
    }
    let is_plugin = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libevopress_") && name.ends_with(".so") && path.is_file()
    };
    let mut files: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(is_plugin)
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use evopress_cache::Cache;

    use super::*;

    #[test]
    fn every_part_of_a_split_model_counts() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).digests();
        let (first, second) = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf");
        let path = |name: &str| folder.path().join(name);
        let digest = || {
            digest_model(&path(first), |file| {
                digest_file(&cache, file, "/model/source")
            })
        };
        fs::write(path(first), "one").unwrap();
        assert_eq!(digest().unwrap_err().path, path(second));
        fs::write(path(second), "two").unwrap();
        let before = digest().unwrap();
        fs::write(path(second), "other").unwrap();
        assert_ne!(digest().unwrap(), before);
    }
}
