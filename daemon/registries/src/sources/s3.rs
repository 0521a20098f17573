//! Objects of S3: those under a prefix, or one. A version that evopressd has published has a
//! manifest with the SHA-256 of each file; of other objects the sizes are known, and a change while
//! they are read is told by their ETags.

use evopress_core::{digest_bytes, model_files};
use evopress_spec::{Address, Origin, ToObjects, is_gguf};
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use serde_json::Value;

use super::FetchError;
use super::error::ErrorContext;
use super::file_stream::FileStream;
use super::listing::{Listing, RemoteFile};
use crate::http::chain;
use crate::objects::{ObjectRegistry, Store};
use crate::secrets::Secrets;
use crate::{Endpoints, PublishError};

/// A bucket, and where in it.
pub(super) struct S3 {
    pub(super) context: ErrorContext,
    store: Box<dyn ObjectStore>,
    secrets: Secrets,
    key: String,
}

impl S3 {
    pub(super) fn new(
        origin: &Origin,
        endpoints: &Endpoints,
        context: ErrorContext,
    ) -> Result<Self, PublishError> {
        let Address::S3 { bucket, key } = &origin.address else {
            return Err(PublishError::Settings("it is not of S3".to_owned()));
        };
        let to = ToObjects {
            url: origin.url.clone(),
            plain_http: origin.plain_http,
            bucket: bucket.clone(),
            prefix: String::new(),
            name: String::new(),
            region: None,
            account: origin.account.clone(),
            key: origin.key.clone(),
        };
        let registry = ObjectRegistry::new(Store::S3, to, endpoints);
        let mut secrets = Secrets::default();
        Ok(Self {
            store: registry.open(&mut secrets)?,
            secrets,
            key: key.clone(),
            context,
        })
    }

    pub(super) async fn list(&self) -> Result<Listing, FetchError> {
        if is_gguf(&self.key) {
            let mut files = Vec::new();
            for part in model_files(std::path::Path::new(&self.key)) {
                let meta = self.store.head(&self.path(&part.to_string_lossy())?).await;
                files.push(file(meta.map_err(|error| self.failed(&error))?));
            }
            return Ok(Listing {
                version: digest_of(&files),
                files,
            });
        }
        let files = self.files_under(&self.key).await?;
        let has = |name: &str| files.iter().any(|file| file.name == name);
        // A model that evopressd has published is asked for without its run.
        if !has("config.json") && has("latest.json") {
            let latest = self.small(&format!("{}/latest.json", self.key)).await?;
            let latest: Value = serde_json::from_slice(&latest).unwrap_or_default();
            if let Some(run) = latest["run"].as_str() {
                let key = format!("{}/{run}", self.key);
                return self.with_digests(self.files_under(&key).await?).await;
            }
        }
        self.with_digests(files).await
    }

    async fn files_under(&self, key: &str) -> Result<Vec<RemoteFile>, FetchError> {
        let prefix = self.path(key)?;
        let prefix = Some(&prefix).filter(|_| !key.is_empty());
        let found = self.store.list_with_delimiter(prefix).await;
        let found = found.map_err(|error| self.failed(&error))?;
        let mut files: Vec<_> = found.objects.into_iter().map(file).collect();
        // Some servers take no delimiter and list what is deeper, too.
        let start = format!("{key}/");
        let start = if key.is_empty() { "" } else { &start };
        files.retain(|file| file.at.strip_prefix(start) == Some(file.name.as_str()));
        if files.is_empty() {
            return Err(self.context.missing("there is no object under this prefix"));
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// With the digests of a manifest of ours, where there is one.
    async fn with_digests(&self, files: Vec<RemoteFile>) -> Result<Listing, FetchError> {
        let version = digest_of(&files);
        let mut listing = Listing { version, files };
        if let Some(at) = listing.manifest().map(|file| file.at.clone()) {
            let text = self.small(&at).await?;
            if listing.adopt_digests(&text) {
                listing.version = digest_bytes(&text);
            }
        }
        Ok(listing)
    }

    async fn small(&self, at: &str) -> Result<Vec<u8>, FetchError> {
        let found = self.store.get(&self.path(at)?).await;
        let found = found.map_err(|error| self.failed(&error))?;
        let bytes = found.bytes().await;
        Ok(bytes.map_err(|error| self.failed(&error))?.to_vec())
    }

    pub(super) async fn open(
        &self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<FileStream, FetchError> {
        let options = GetOptions {
            if_match: file.etag.clone(),
            range: (offset > 0).then_some(GetRange::Offset(offset)),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.path(&file.at)?, options).await;
        let found = found.map_err(|error| self.failed(&error))?;
        let (start, context) = (found.range.start, self.context.clone());
        let pieces = found.into_stream();
        let pieces =
            pieces.map(move |piece| piece.map_err(|error| context.interrupted(told(&error))));
        Ok(FileStream {
            start,
            pieces: pieces.boxed(),
        })
    }

    fn path(&self, key: &str) -> Result<Path, FetchError> {
        Path::parse(key).map_err(|error| self.context.missing(error.to_string()))
    }

    fn failed(&self, error: &Error) -> FetchError {
        let why = self.secrets.scrub(&told(error));
        match error {
            Error::NotFound { .. } => self.context.missing(why),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                self.context.unauthorized(why)
            }
            _ if why.contains("NoSuchBucket") => self.context.missing(why),
            // Some servers say so with a status of their own choice, which the client does not tell
            // apart.
            _ if why.contains("403 Forbidden") => self.context.unauthorized(why),
            _ if is_our_fault(error, &why) => FetchError::Registry(PublishError::Failed {
                registry: "s3",
                doing: format!("read {}", self.context.address),
                why,
            }),
            _ => self.context.interrupted(why),
        }
    }
}

/// Whether the request is one that the server will never answer.
fn is_our_fault(error: &Error, why: &str) -> bool {
    // Which status it was, the client tells only in its text.
    let status = why.split_once("status code: ").map(|(_, rest)| rest);
    match error {
        Error::Generic { .. } => status.is_some_and(|status| {
            status.starts_with(['3', '4'])
                && !["408", "425", "429"]
                    .iter()
                    .any(|it| status.starts_with(it))
        }),
        _ => matches!(
            error,
            Error::NotSupported { .. }
                | Error::InvalidPath { .. }
                | Error::NotImplemented { .. }
                | Error::UnknownConfigurationKey { .. }
        ),
    }
}

fn file(meta: ObjectMeta) -> RemoteFile {
    let at = meta.location.to_string();
    RemoteFile {
        name: at.rsplit('/').next().unwrap_or(&at).to_owned(),
        size_bytes: meta.size,
        digest: None,
        etag: meta.e_tag,
        at,
    }
}

/// Of what tells one state of the objects from another.
fn digest_of(files: &[RemoteFile]) -> String {
    let lines: String = files
        .iter()
        .map(|file| {
            let etag = file.etag.as_deref().unwrap_or_default();
            format!("{} {etag} {}\n", file.size_bytes, file.at)
        })
        .collect();
    digest_bytes(lines.as_bytes())
}

/// In one line, not too long. Keys are never sent: requests are signed with them.
fn told(error: &Error) -> String {
    let text = chain(error);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(400).collect()
}
