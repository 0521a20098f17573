//! Object stores: `PREFIX/NAME/RUN/…`, with a manifest that is written last, and
//! `PREFIX/NAME/latest.json`.
//!
//! A version is there when its manifest is, and the manifest is never overwritten. Objects that
//! arrived before a failure are compared and not sent again.

use evopress_core::digest_bytes;
use evopress_spec::{Published, Secret, ToObjects};
use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    WriteMultipart,
};
use serde_json::json;

use crate::bundle::MANIFEST;
use crate::http::{chain, check_url};
use crate::secrets::Secrets;
use crate::transfer::{self, Counter};
use crate::{Bundle, BundleFile, Endpoints, PublishError, Registry};

/// Parts of an upload; stores take at least 5 MiB, and at most 10000 parts.
const PART_BYTES: u64 = 8 << 20;
const MAX_PARTS: u64 = 9_000;
/// Parts on their way at the same time: what an upload holds in memory is this many parts.
const PARTS_AT_ONCE: usize = 4;

/// The kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    S3,
    Gcs,
    Azure,
}

/// A bucket.
pub(crate) struct ObjectRegistry {
    store: Store,
    to: ToObjects,
    url: Option<String>,
}

impl ObjectRegistry {
    pub(crate) fn new(store: Store, to: ToObjects, endpoints: &Endpoints) -> Self {
        let usual = endpoints.s3.clone().filter(|_| store == Store::S3);
        let url = to.url.clone().or(usual);
        Self { store, to, url }
    }

    /// Opens the bucket. No request is sent yet.
    ///
    /// # Errors
    /// The URL would send in the clear, or a secret is not there.
    pub(crate) fn open(&self, secrets: &mut Secrets) -> Result<Box<dyn ObjectStore>, PublishError> {
        let kind = self.kind();
        let url = self.url.as_deref();
        if let Some(url) = url {
            check_url(kind, url, self.to.plain_http)?;
        }
        let plain = url.is_some_and(|url| url.starts_with("http:"));
        let options = ClientOptions::new()
            .with_allow_http(plain)
            .with_timeout_disabled()
            .with_connect_timeout(std::time::Duration::from_secs(10));
        // The daemon reports failures and tries again later; this only bridges a short
        // interruption.
        let retries = RetryConfig {
            max_retries: 2,
            retry_timeout: std::time::Duration::from_secs(30),
            ..RetryConfig::default()
        };
        let mut read = |secret: &Option<Secret>| {
            secret
                .as_ref()
                .map(|secret| secrets.read(secret))
                .transpose()
        };
        let (account, key) = (read(&self.to.account)?, read(&self.to.key)?);
        let bucket = &self.to.bucket;
        let wrong = |error: Error| PublishError::Failed {
            registry: kind,
            doing: format!("use the bucket {bucket}"),
            why: chain(&error),
        };
        Ok(match self.store {
            Store::S3 => {
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_client_options(options)
                    .with_retry(retries);
                if let Some(url) = url {
                    builder = builder
                        .with_endpoint(url)
                        .with_virtual_hosted_style_request(false);
                }
                if let (Some(account), Some(key)) = (account, key) {
                    builder = builder
                        .with_access_key_id(account)
                        .with_secret_access_key(key);
                }
                if let Some(region) = &self.to.region {
                    builder = builder.with_region(region);
                }
                Box::new(builder.build().map_err(wrong)?)
            }
            Store::Gcs => {
                let mut builder = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket)
                    .with_client_options(options)
                    .with_retry(retries);
                if let Some(url) = url {
                    builder = builder.with_base_url(url);
                }
                if let Some(key) = key {
                    builder = builder.with_service_account_key(key);
                }
                Box::new(builder.build().map_err(wrong)?)
            }
            Store::Azure => {
                let mut builder = MicrosoftAzureBuilder::from_env()
                    .with_container_name(bucket)
                    .with_client_options(options)
                    .with_retry(retries);
                if let Some(url) = url {
                    builder = builder.with_endpoint(url.to_owned());
                }
                if let (Some(account), Some(key)) = (account, key) {
                    builder = builder.with_account(account).with_access_key(key);
                }
                Box::new(builder.build().map_err(wrong)?)
            }
        })
    }
}

impl Registry for ObjectRegistry {
    fn kind(&self) -> &'static str {
        match self.store {
            Store::S3 => "s3",
            Store::Gcs => "gcs",
            Store::Azure => "azure",
        }
    }

    fn publish(
        &self,
        bundle: &Bundle,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Published, PublishError> {
        let mut secrets = Secrets::default();
        let store = self.open(&mut secrets)?;
        let home = [self.to.prefix.as_str(), self.to.name.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        let counter = Counter::default();
        let upload = Upload {
            kind: self.kind(),
            store: store.as_ref(),
            secrets: &secrets,
            home,
            bundle,
            counter: &counter,
        };
        let (version, digest) = transfer::run(&counter, progress, upload.run())?;
        let scheme = match self.store {
            Store::S3 => "s3",
            Store::Gcs => "gs",
            Store::Azure => "az",
        };
        Ok(Published {
            registry: self.kind().to_owned(),
            location: format!("{scheme}://{}/{}/{version}", self.to.bucket, upload.home),
            version,
            digest,
        })
    }
}

/// One publication.
struct Upload<'a> {
    kind: &'static str,
    store: &'a dyn ObjectStore,
    secrets: &'a Secrets,
    home: String,
    bundle: &'a Bundle,
    counter: &'a Counter,
}

impl Upload<'_> {
    /// The version and the digest of its manifest.
    async fn run(&self) -> Result<(String, String), PublishError> {
        let run = &self.bundle.run;
        let manifest = self.bundle.manifest()?;
        let digest = digest_bytes(&manifest);
        let at = self.path(&format!("{run}/{MANIFEST}"));
        let found = self.read(&at).await?;
        match &found {
            Some(found) if *found == manifest => self.counter.done(self.bundle.size_bytes()),
            Some(found) => {
                return Err(PublishError::Differs {
                    registry: self.kind,
                    place: at.to_string(),
                    found: digest_bytes(found),
                    expected: digest,
                });
            }
            None => {
                for file in &self.bundle.files {
                    self.file(file).await?;
                }
                self.write(&at, manifest, PutMode::Create).await?;
            }
        }
        let latest = self.path("latest.json");
        let is_there = self.read(&latest).await?.is_some();
        // An older run that is published again does not become the latest.
        if found.is_none() || !is_there {
            let text = json!({"run": run, "manifest_sha256": digest}).to_string();
            self.write(&latest, text.into_bytes(), PutMode::Overwrite)
                .await?;
        }
        Ok((run.clone(), digest))
    }

    async fn file(&self, file: &BundleFile) -> Result<(), PublishError> {
        let at = self.path(&format!("{}/{}", self.bundle.run, file.name));
        if self
            .digest(&at)
            .await?
            .is_some_and(|(digest, _)| digest == file.sha256)
        {
            self.counter.done(file.size_bytes);
            return Ok(());
        }
        self.send(file, &at).await?;
        let found = self
            .digest(&at)
            .await?
            .map_or_else(|| "none".to_owned(), |(digest, _)| digest);
        if found == file.sha256 {
            return Ok(());
        }
        Err(PublishError::Differs {
            registry: self.kind,
            place: at.to_string(),
            found,
            expected: file.sha256.clone(),
        })
    }

    async fn send(&self, file: &BundleFile, at: &Path) -> Result<(), PublishError> {
        let failed = |error| self.failed(format!("write {at}"), &error);
        let read = |error| PublishError::io("read", &file.source)(error);
        let mut pieces =
            std::pin::pin!(transfer::stream(file, 0, file.size_bytes, self.counter).await?);
        if file.size_bytes <= PART_BYTES {
            let mut whole = Vec::new();
            while let Some(piece) = pieces.next().await {
                whole.extend_from_slice(&piece.map_err(read)?);
            }
            return self.write(at, whole, PutMode::Overwrite).await;
        }
        let part = PART_BYTES.max(file.size_bytes.div_ceil(MAX_PARTS));
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        let upload = self.store.put_multipart(at).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, part);
        while let Some(piece) = pieces.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    let _ = upload.abort().await; // the first error says more
                    return Err(read(error));
                }
            };
            upload
                .wait_for_capacity(PARTS_AT_ONCE)
                .await
                .map_err(failed)?;
            upload.put(piece);
        }
        upload.finish().await.map_err(failed)?;
        Ok(())
    }

    async fn write(&self, at: &Path, bytes: Vec<u8>, mode: PutMode) -> Result<(), PublishError> {
        let options = PutOptions::from(mode);
        match self.store.put_opts(at, bytes.into(), options).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(format!("write {at}"), &error)),
        }
    }

    async fn read(&self, at: &Path) -> Result<Option<Vec<u8>>, PublishError> {
        let failed = |error| self.failed(format!("read {at}"), &error);
        match self.store.get(at).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(failed)?.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn digest(&self, at: &Path) -> Result<Option<(String, u64)>, PublishError> {
        let failed = |error| self.failed(format!("read {at}"), &error);
        match self.store.get(at).await {
            Ok(found) => {
                let digest = transfer::digest(found.into_stream(), self.counter).await;
                digest.map(Some).map_err(failed)
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.home))
    }

    fn failed(&self, doing: String, error: &Error) -> PublishError {
        let why = self.secrets.scrub(&chain(error));
        PublishError::Failed {
            registry: self.kind,
            doing,
            why: why
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .chars()
                .take(400)
                .collect(),
        }
    }
}
