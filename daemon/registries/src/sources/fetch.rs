//! Fetching: from a listing to a complete entry.

use std::time::Duration;

use evopress_cache::{Cache, DigestCache, Entry, FileRecord};
use evopress_spec::Origin;
use serde_json::json;

use super::FetchError;
use super::download::{download, retry};
use super::entry::{Fetched, complete_model, entry_of, name_of, new_manifest, pinned_version};
use super::listing::{FileDigest, Listing, Needed, RemoteFile, needed};
use super::progress::{ModelProgress, Progress};
use super::source::Source;
use crate::Endpoints;

/// Between two attempts at an entry that another process is fetching.
const POLL: Duration = Duration::from_millis(250);

/// Brings a model into the cache, unless it is there.
///
/// # Errors
/// The model cannot be fetched now. What has arrived stays in the cache, and the next call resumes
/// there.
pub async fn fetch(
    origin: &Origin,
    cache: &Cache,
    endpoints: &Endpoints,
    progress: Progress<'_>,
) -> Result<Fetched, FetchError> {
    if let Some(cached) = find_cached(origin, cache, endpoints)? {
        return Ok(cached);
    }
    let source = Source::new(origin, endpoints)?;
    let listing = retry(|| false, || source.list()).await?;
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
        if let Some(mut model) = complete_model(&entry, &listing.version)? {
            model.fetched_bytes = fetched_bytes;
            return Ok(model);
        }
        if let Some(_alone) = entry.try_lock_exclusive()? {
            let filling = Filling {
                origin,
                source: &source,
                listing: &listing,
                entry: &entry,
                digests: &cache.digests(),
            };
            fetched_bytes += filling.run(progress).await?;
        } else {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The model of an origin whose version is known, if it is in the cache. No server is asked.
///
/// # Errors
/// The cache cannot be read.
pub fn find_cached(
    origin: &Origin,
    cache: &Cache,
    endpoints: &Endpoints,
) -> Result<Option<Fetched>, FetchError> {
    let pinned = || pinned_version(&origin.address);
    let Some(version) = origin.version.clone().or_else(pinned) else {
        return Ok(None);
    };
    complete_model(&entry_of(origin, cache, endpoints, &version)?, &version)
}

/// Reads every file of a fetched model and removes those whose digest is not that of the fetched
/// file, so that the next [`fetch`] brings them again.
///
/// # Errors
/// The cache cannot be used.
pub fn remove_damaged(
    origin: &Origin,
    cache: &Cache,
    endpoints: &Endpoints,
) -> Result<(), FetchError> {
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

/// What it takes to fetch the files that an entry lacks; the entry is locked by the caller.
struct Filling<'a> {
    origin: &'a Origin,
    source: &'a Source,
    listing: &'a Listing,
    entry: &'a Entry,
    digests: &'a DigestCache,
}

impl Filling<'_> {
    /// Fetches the files. Returns the bytes that arrived.
    async fn run(self, progress: Progress<'_>) -> Result<u64, FetchError> {
        let (origin, entry, listing) = (self.origin, self.entry, self.listing);
        let needed = needed(listing.files.clone(), self.source.context())?;
        let (folder, files) = match needed {
            Needed::Gguf(files) => (None, files),
            Needed::Folder(files) => (Some(name_of(&origin.address)), files),
        };
        let first = files.first().map(|file| file.name.clone());
        let model = folder.clone().or(first);
        let mut manifest = entry
            .load_manifest()
            .manifest
            .unwrap_or_else(|| new_manifest(entry, origin, &listing.version));
        manifest.is_complete = false;
        manifest.details = json!({"model": model});
        let progress = ModelProgress::new(progress, &origin.address, &files);
        let mut fetched_bytes = 0;
        for file in &files {
            let name = match &folder {
                Some(folder) => format!("{folder}/{}", file.name),
                None => file.name.clone(),
            };
            let known = manifest.files.get(&name);
            if !known.is_some_and(|record| is_in_entry(entry, &name, record, file)) {
                progress.report(file, 0);
                let record = download(self.source, file, entry, &name, &progress).await?;
                self.digests
                    .record(&entry.path().join(&name), &record.sha256);
                fetched_bytes += record.bytes;
                manifest.files.insert(name, record);
                entry.save_manifest(&manifest)?;
            }
            progress.finish(file);
        }
        manifest.is_complete = true;
        entry.save_manifest(&manifest)?;
        entry.touch()?;
        Ok(fetched_bytes)
    }
}

/// Whether the entry has the file that the source has.
fn is_in_entry(entry: &Entry, name: &str, record: &FileRecord, file: &RemoteFile) -> bool {
    let found = std::fs::metadata(entry.path().join(name));
    let is_whole = found.is_ok_and(|found| found.len() == record.bytes);
    let is_equal = match &file.digest {
        Some(FileDigest::Sha256(sha256)) => *sha256 == record.sha256,
        // An entry belongs to one version, so a file of this name and size is this file.
        _ => file.size_bytes == record.bytes,
    };
    is_whole && is_equal
}
