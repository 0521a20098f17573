//! The entry of the cache that holds one version of a model.

use std::path::{Path, PathBuf};

use evopress_cache::{Cache, Entry, FileRecord, Guard, Manifest};
use evopress_core::{digest_bytes, digest_model};
use evopress_spec::{Address, Origin};
use serde_json::{Value, json};

use super::FetchError;
use crate::Endpoints;

/// The kind of the entries.
const KIND: &str = "models";

/// A model in the cache. It stays there as long as this lives.
#[derive(Debug)]
pub struct Fetched {
    /// A Hugging Face folder or a `.gguf` file.
    pub path: PathBuf,
    /// The version that the address means: a commit, a digest.
    pub version: String,
    /// What [`digest_model`] says of `path` where it is a file, and
    /// [`digest_path`](evopress_core::digest_path) where it is a folder, as long as nothing is
    /// damaged.
    pub digest: String,
    /// Bytes that came just now; 0 where all was in the cache.
    pub fetched_bytes: u64,
    _held: Guard,
}

/// The version that an address itself names: a commit or a digest.
pub(super) fn pinned_version(address: &Address) -> Option<String> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match address {
        Address::Hub { revision, .. } if revision.len() == 40 && is_hex(revision) => {
            Some(revision.to_ascii_lowercase())
        }
        Address::Oci { reference, .. } if reference.starts_with("sha256:") => {
            Some(reference.clone())
        }
        _ => None,
    }
}

/// The entry of a version. Its key includes the server where only the server tells one version from
/// another.
pub(super) fn entry_of(
    origin: &Origin,
    cache: &Cache,
    endpoints: &Endpoints,
    version: &str,
) -> Result<Entry, FetchError> {
    let server = |usual: &Option<String>| json!(origin.url.as_ref().or(usual.as_ref()));
    let place = match &origin.address {
        Address::Hub {
            repository, file, ..
        } => json!({"repository": repository, "file": file}),
        Address::Oci { .. } => Value::Null,
        Address::S3 { bucket, key } => {
            json!({"server": server(&endpoints.s3), "bucket": bucket, "key": key})
        }
        Address::Mlflow { name, .. } => {
            json!({"server": server(&endpoints.mlflow), "model": name})
        }
    };
    let inputs = json!({"from": origin.address.kind(), "place": place, "version": version});
    let key = digest_bytes(inputs.to_string().as_bytes());
    Ok(cache.entry(KIND, &key)?)
}

/// The manifest of an entry that has no file yet. `model` is the name of the model's folder or file
/// in it.
pub(super) fn new_manifest(entry: &Entry, origin: &Origin, version: &str) -> Manifest {
    let title = format!("{} at {}", origin.address, short(version));
    let inputs = json!({"address": origin.address, "version": version});
    Manifest::new(KIND, entry.key(), &title, inputs)
}

/// The model in an entry, if every file is there in its whole length.
pub(super) fn complete_model(entry: &Entry, version: &str) -> Result<Option<Fetched>, FetchError> {
    let Some(held) = entry.try_lock_shared()? else {
        return Ok(None);
    };
    let Some(manifest) = entry.load_manifest().manifest.filter(|it| it.is_complete) else {
        return Ok(None);
    };
    let is_there = |(name, record): (&String, &FileRecord)| {
        let found = std::fs::metadata(entry.path().join(name));
        found.is_ok_and(|found| found.len() == record.bytes)
    };
    let Some(name) = manifest.details["model"].as_str() else {
        return Ok(None);
    };
    if manifest.files.is_empty() || !manifest.files.iter().all(is_there) {
        return Ok(None);
    }
    entry.touch()?;
    Ok(Some(Fetched {
        path: entry.path().join(name),
        version: version.to_owned(),
        digest: digest_of(&manifest, name),
        fetched_bytes: 0,
        _held: held,
    }))
}

/// The digest of a model from those of its files: of a file or the parts of a split one as
/// `digest_model` computes it, of a folder as `digest_path` does.
fn digest_of(manifest: &Manifest, model: &str) -> String {
    let sha256 = |file: &Path| {
        let record = manifest.files.get(file.to_str()?)?;
        Some(record.sha256.clone())
    };
    if let Ok(digest) = digest_model(Path::new(model), |file| sha256(file).ok_or(())) {
        return digest;
    }
    let folder = Path::new(model);
    let lines: String = manifest
        .files
        .iter()
        .filter_map(|(name, record)| {
            let name = Path::new(name).strip_prefix(folder).ok()?;
            Some(format!("{}  {}\n", record.sha256, name.display()))
        })
        .collect();
    digest_bytes(lines.as_bytes())
}

/// What a model's folder is called, which people see in reports.
pub(super) fn name_of(address: &Address) -> String {
    let name = match address {
        Address::Hub { repository, .. } | Address::Oci { repository, .. } => repository,
        Address::S3 { bucket, key } if key.is_empty() => bucket,
        Address::S3 { key, .. } => key,
        Address::Mlflow { name, .. } => name,
    };
    let name = name.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(100)
        .collect();
    match plain.as_str() {
        "" | "used" | "manifest.json" => "model".to_owned(),
        _ => plain,
    }
}

fn short(version: &str) -> String {
    let hex = version.strip_prefix("sha256:").unwrap_or(version);
    hex.chars().take(12).collect()
}
