//! Digests of everything that a run reads. Files that have not changed since they were hashed are not read again.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use evopress_spec::{InputDigests, Mistake, Plan, digest_bytes, digest_path};

use crate::journal::{FileStamp, Journal};

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
    journal: &Journal,
    plan: &Plan,
    plugins: &Path,
) -> Result<InputDigests, Unreadable> {
    let digest = |path: &Path, pointer: &str| {
        cached(journal, path).map_err(|error| Unreadable {
            path: path.to_owned(),
            pointer: pointer.to_owned(),
            error,
        })
    };
    let mut digests = InputDigests {
        model: digest(&plan.model.source, "/model/source")?,
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
        let files = plugin_files(plugins, &used.plugin);
        let found = files
            .iter()
            .map(|file| digest(file, &pointer))
            .collect::<Result<Vec<_>, _>>()?;
        let whole = if let [one] = found.as_slice() {
            one.clone()
        } else {
            digest_bytes(found.join("\n").as_bytes())
        };
        digests.plugins.insert(used.plugin.clone(), whole);
    }
    Ok(digests)
}

/// The file of a plugin: `libevopress_NAME.so`. Where a plugin's file is named otherwise, any of the folder may be it, and a
/// change of any makes a new run. A plugin that is not there at all is the worker's to report.
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

pub(super) fn cached(journal: &Journal, path: &Path) -> io::Result<String> {
    let stamp = stamp(path)?;
    // The cache only saves time; without it the file is read.
    if let Ok(Some(known)) = journal.digest(path, stamp) {
        return Ok(known);
    }
    let digest = digest_path(path)?;
    if self::stamp(path)? == stamp {
        keep(journal, path, stamp, &digest);
    }
    Ok(digest)
}

/// Keeps a digest that is known already.
pub(super) fn remember(journal: &Journal, path: &Path, digest: &str) {
    if let Ok(stamp) = stamp(path) {
        keep(journal, path, stamp, digest);
    }
}

fn keep(journal: &Journal, path: &Path, stamp: FileStamp, digest: &str) {
    if let Err(error) = journal.remember_digest(path, stamp, digest) {
        tracing::warn!(%error, "a digest could not be remembered");
    }
}

/// A file's size and time; for a folder the sum of sizes, and a hash of names, sizes and times in place of a time.
fn stamp(path: &Path) -> io::Result<FileStamp> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(FileStamp::from(&metadata));
    }
    let mut files = Vec::new();
    collect(path, 0, &mut files)?;
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut bytes = Vec::new();
    let mut size = 0;
    for (file, metadata) in &files {
        let stamp = FileStamp::from(metadata);
        size += stamp.size;
        bytes.extend_from_slice(file.as_os_str().as_bytes());
        bytes.extend_from_slice(format!("\0{}\0{}\n", stamp.size, stamp.mtime_ns).as_bytes());
    }
    let digest = digest_bytes(&bytes);
    let mtime_ns = u64::from_str_radix(&digest[..16], 16)
        .unwrap_or_default()
        .cast_signed();
    Ok(FileStamp { size, mtime_ns })
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<(PathBuf, Metadata)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        if metadata.is_dir() && depth < 8 {
            collect(&path, depth + 1, files)?;
        } else if metadata.is_file() {
            files.push((path, metadata));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_comes_from_the_cache_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal.db")).unwrap();
        let model = folder.path().join("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("config.json"), "{}").unwrap();
        let first = cached(&journal, &model).unwrap();
        assert_eq!(first, digest_path(&model).unwrap());
        journal
            .remember_digest(&model, stamp(&model).unwrap(), "from the cache")
            .unwrap();
        assert_eq!(cached(&journal, &model).unwrap(), "from the cache");
        fs::write(model.join("config.json"), "{ }").unwrap();
        assert_eq!(
            cached(&journal, &model).unwrap(),
            digest_path(&model).unwrap()
        );
    }
}
