//! Models from registries: an address becomes a version that can only ever mean the same files, and these become an entry
//! of the cache, which every run of that version shares.
//!
//! ```text
//! Origin ── list ──▶ version, files ── download, digests ──▶ CACHE/models/KEY/NAME/…  or  CACHE/models/KEY/FILE.gguf
//! ```
//! Only what a model needs is fetched. What is in the cache is not fetched again; where the spec names a commit or a digest
//! nobody is even asked. An interrupted download goes on where it ended.

mod download;
mod error;
mod hub;
mod listing;
mod mlflow;
mod oci;
mod place;
mod s3;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evopress_cache::{Cache, Entry, FileRecord, Guard, Manifest};
use evopress_spec::{Address, Origin, digest_bytes};
use serde_json::{Value, json};

pub use error::FetchError;
use listing::{FileDigest, Listing, Needed, RemoteFile, needed};
use place::Place;

use crate::Endpoints;

/// The kind of the entries.
const KIND: &str = "models";
/// Another process may be fetching the same model.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A model in the cache. It stays there as long as this lives.
#[derive(Debug)]
pub struct Fetched {
    /// A Hugging Face folder or a `.gguf` file.
    pub path: PathBuf,
    /// What the address has come to.
    pub version: String,
    /// What [`digest_path`](evopress_spec::digest_path) says of `path` as long as nothing is damaged.
    pub digest: String,
    /// Bytes that came just now; 0 where all was in the cache.
    pub fetched_bytes: u64,
    _held: Guard,
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress<'a> {
    /// Where the model comes from.
    pub address: &'a Address,
    /// The file that is on its way.
    pub file: &'a str,
    /// Bytes of the model that are here.
    pub done_bytes: u64,
    /// Bytes of the model.
    pub total_bytes: u64,
}

/// Who is told of it.
type Progress<'a> = &'a (dyn Fn(&FetchProgress<'_>) + Send + Sync);

/// Brings a model into the cache, unless it is there.
///
/// # Errors
/// It is not there now; what has arrived is kept, and the next call goes on with it.
pub async fn fetch(
    origin: &Origin,
    cache: &Cache,
    endpoints: &Endpoints,
    progress: Progress<'_>,
) -> Result<Fetched, FetchError> {
    if let Some(there) = hold(origin, cache, endpoints)? {
        return Ok(there);
    }
    let place = Place::new(origin, endpoints)?;
    let listing = download::retried(|| false, || place.list()).await?;
    if let Some(expected) = origin.version.as_ref().filter(|it| **it != listing.version) {
        return Err(FetchError::Changed {
            address: origin.address.to_string(),
            found: listing.version,
            expected: expected.clone(),
        });
    }
    let entry = entry_of(origin, cache, endpoints, &listing.version)?;
    let mut fetched_bytes = 0;
    loop {
        if let Some(mut there) = whole(&entry, &listing.version)? {
            there.fetched_bytes = fetched_bytes;
            return Ok(there);
        }
        if let Some(_alone) = entry.try_lock_exclusive()? {
            fetched_bytes += build(origin, &place, &listing, &entry, progress).await?;
        } else {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// The model of an origin whose version is known, if it is in the cache. Asks nobody.
///
/// # Errors
/// The cache cannot be read.
pub fn hold(
    origin: &Origin,
    cache: &Cache,
    endpoints: &Endpoints,
) -> Result<Option<Fetched>, FetchError> {
    let Some(version) = origin.version.clone().or_else(|| pinned(&origin.address)) else {
        return Ok(None);
    };
    whole(&entry_of(origin, cache, endpoints, &version)?, &version)
}

/// Reads every file of a fetched model and removes those that are not what they were, so that the next [`fetch`] brings
/// them again.
///
/// # Errors
/// The cache cannot be used.
pub fn distrust(origin: &Origin, cache: &Cache, endpoints: &Endpoints) -> Result<(), FetchError> {
    let Some(version) = &origin.version else {
        return Ok(());
    };
    let entry = entry_of(origin, cache, endpoints, version)?;
    let _alone = entry.lock_exclusive()?;
    for damage in entry.verify() {
        let path = entry.path().join(&damage.file);
        tracing::warn!(file = %path.display(), reason = damage.reason, "file of a model is damaged");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FetchError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The version that an address itself names: a commit or a digest.
fn pinned(address: &Address) -> Option<String> {
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

/// The entry of a version. Where a server's own word is all that tells one version from another, the server counts.
fn entry_of(
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

/// The model in an entry, if every file is there in its whole length.
fn whole(entry: &Entry, version: &str) -> Result<Option<Fetched>, FetchError> {
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

/// As for the same files on a disk.
fn digest_of(manifest: &Manifest, model: &str) -> String {
    if let Some(file) = manifest.files.get(model) {
        return file.sha256.clone();
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

/// Fetches what an entry lacks; how many bytes.
async fn build(
    origin: &Origin,
    place: &Place,
    listing: &Listing,
    entry: &Entry,
    progress: Progress<'_>,
) -> Result<u64, FetchError> {
    let (model, files) = match needed(listing.files.clone(), place.whose())? {
        Needed::Gguf(file) => (file.name.clone(), vec![file]),
        Needed::Folder(files) => (name_of(&origin.address), files),
    };
    let title = format!("{} at {}", origin.address, short(&listing.version));
    let inputs = json!({"address": origin.address, "version": listing.version});
    let mut manifest = entry
        .load_manifest()
        .manifest
        .unwrap_or_else(|| Manifest::new(KIND, entry.key(), &title, inputs));
    manifest.is_complete = false;
    manifest.details = json!({"model": model});
    let told = Told {
        progress,
        address: &origin.address,
        total_bytes: files.iter().map(|file| file.size_bytes).sum(),
        before: AtomicU64::new(0),
        arrived: AtomicU64::new(0),
    };
    let mut fetched_bytes = 0;
    for file in &files {
        let name = if file.name == model {
            model.clone()
        } else {
            format!("{model}/{}", file.name)
        };
        let known = manifest.files.get(&name);
        if !known.is_some_and(|record| is_kept(entry, &name, record, file)) {
            told.at(file, 0);
            let record = download::download(place, file, entry, &name, &told).await?;
            fetched_bytes += record.bytes;
            manifest.files.insert(name, record);
            entry.save_manifest(&manifest)?;
        }
        told.before.fetch_add(file.size_bytes, Ordering::Relaxed);
        told.at(file, 0);
    }
    manifest.is_complete = true;
    entry.save_manifest(&manifest)?;
    entry.touch()?;
    Ok(fetched_bytes)
}

/// Whether a file of an entry is the one that the place has.
fn is_kept(entry: &Entry, name: &str, record: &FileRecord, file: &RemoteFile) -> bool {
    let found = std::fs::metadata(entry.path().join(name));
    let is_whole = found.is_ok_and(|found| found.len() == record.bytes);
    let is_same = match &file.digest {
        Some(FileDigest::Sha256(sha256)) => *sha256 == record.sha256,
        // The version says that it is the same.
        _ => file.size_bytes == record.bytes,
    };
    is_whole && is_same
}

/// What a model's folder is called, which people see in reports.
fn name_of(address: &Address) -> String {
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

/// Tells how far a download is.
struct Told<'a> {
    progress: Progress<'a>,
    address: &'a Address,
    total_bytes: u64,
    /// Bytes of the files before this one.
    before: AtomicU64,
    /// Bytes of this one.
    arrived: AtomicU64,
}

impl Told<'_> {
    fn at(&self, file: &RemoteFile, bytes: u64) {
        self.arrived.store(bytes, Ordering::Relaxed);
        (self.progress)(&FetchProgress {
            address: self.address,
            file: &file.name,
            done_bytes: self.before.load(Ordering::Relaxed) + bytes,
            total_bytes: self.total_bytes,
        });
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }
}
