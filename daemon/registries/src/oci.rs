//! OCI registries, in the CNCF ModelPack layout: a config, one layer a file, a manifest, and two
//! tags: the run's ID and one that follows the newest run. A blob that is there already is not
//! sent; the registry itself refuses a blob whose digest is not the announced one.

use std::time::Duration;

use evopress_core::digest_bytes;
use evopress_spec::{Credentials, Published, ToOci};
use futures_util::StreamExt;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::http::{chain, check_url, is_loopback};
use crate::secrets::{Auth, Secrets};
use crate::transfer::{self, Counter};
use crate::{Bundle, BundleFile, PublishError, Registry};

pub(crate) const KIND: &str = "oci";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const ARTIFACT: &str = "application/vnd.cncf.model.manifest.v1+json";
const CONFIG: &str = "application/vnd.cncf.model.config.v1+json";

/// A repository.
pub(crate) struct OciRegistry {
    to: ToOci,
}

impl OciRegistry {
    pub(crate) fn new(to: ToOci) -> Self {
        Self { to }
    }
}

impl Registry for OciRegistry {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn publish(
        &self,
        bundle: &Bundle,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Published, PublishError> {
        let (repository, credentials) = (&self.to.repository, &self.to.credentials);
        let mut secrets = Secrets::default();
        let (client, auth) = client_of(repository, self.to.plain_http, credentials, &mut secrets)?;
        let counter = Counter::default();
        let upload = Upload {
            client: &client,
            auth,
            has_credentials: self.to.credentials != Credentials::None,
            secrets: &secrets,
            repository,
            tag: &self.to.tag,
            bundle,
            counter: &counter,
        };
        let digest = transfer::run(&counter, progress, upload.run())?;
        Ok(Published {
            registry: KIND.to_owned(),
            location: format!("oci://{}@sha256:{digest}", self.to.repository),
            version: bundle.run.clone(),
            digest,
        })
    }
}

/// A client for `HOST[:PORT]/PATH`, and its credentials.
///
/// # Errors
/// It would send secrets unencrypted, or a secret is not there.
pub(crate) fn client_of(
    repository: &str,
    plain_http: bool,
    credentials: &Credentials,
    secrets: &mut Secrets,
) -> Result<(Client, RegistryAuth), PublishError> {
    let https = format!("https://{}", parts_of(repository)?.0);
    check_url(KIND, &https, plain_http)?;
    let is_here = reqwest::Url::parse(&https).is_ok_and(|url| is_loopback(&url));
    let auth = match secrets.auth(credentials)? {
        Auth::None => RegistryAuth::Anonymous,
        Auth::Bearer(token) => RegistryAuth::Bearer(token),
        Auth::Basic(username, password) => RegistryAuth::Basic(username, password),
    };
    let client = Client::new(ClientConfig {
        protocol: if plain_http || is_here {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        connect_timeout: Some(Duration::from_secs(10)),
        // One request a blob; otherwise each piece of the stream is a request of its own.
        use_monolithic_push: true,
        ..ClientConfig::default()
    });
    Ok((client, auth))
}

/// What a tag, or a digest, of `HOST[:PORT]/PATH` names.
///
/// # Errors
/// There is no path.
pub(crate) fn image_of(repository: &str, reference: &str) -> Result<Reference, PublishError> {
    let (host, path) = parts_of(repository)?;
    let (host, path, reference) = (host.to_owned(), path.to_owned(), reference.to_owned());
    Ok(if reference.starts_with("sha256:") {
        Reference::with_digest(host, path, reference)
    } else {
        Reference::with_tag(host, path, reference)
    })
}

fn parts_of(repository: &str) -> Result<(&str, &str), PublishError> {
    let parts = repository.split_once('/');
    parts.ok_or_else(|| PublishError::Settings(format!("{repository} is not HOST/PATH")))
}

/// One publication.
struct Upload<'a> {
    client: &'a Client,
    auth: RegistryAuth,
    has_credentials: bool,
    secrets: &'a Secrets,
    repository: &'a str,
    tag: &'a str,
    bundle: &'a Bundle,
    counter: &'a Counter,
}

impl Upload<'_> {
    /// The digest of the manifest.
    async fn run(&self) -> Result<String, PublishError> {
        let image = image_of(self.repository, &self.bundle.run)?;
        if self.has_credentials {
            let auth = self
                .client
                .auth(&image, &self.auth, RegistryOperation::Push)
                .await;
            auth.map_err(|error| self.failed("log in".to_owned(), &error))?;
        }
        let mut layers = Vec::new();
        for file in &self.bundle.files {
            self.blob(&image, file).await?;
            layers.push(layer(file));
        }
        let config = self.config().to_string();
        let config_digest = self.small_blob(&image, config.as_bytes()).await?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": {"mediaType": CONFIG, "digest": config_digest, "size": config.len()},
            "layers": layers,
            "annotations": {"org.opencontainers.image.version": self.bundle.run},
        })
        .to_string();
        let digest = digest_bytes(manifest.as_bytes());
        let known = self.tagged(&image).await?;
        if known.as_deref() != Some(&digest) {
            self.tag_manifest(&image, &manifest).await?;
        }
        let moving = image_of(self.repository, self.tag)?;
        let current = self.tagged(&moving).await?;
        // An older run that is published again does not move the tag back.
        if current.is_none() || (known.is_none() && current.as_deref() != Some(&digest)) {
            self.tag_manifest(&moving, &manifest).await?;
        }
        match self.tagged(&image).await? {
            Some(found) if found == digest => Ok(digest),
            found => Err(PublishError::Differs {
                registry: KIND,
                place: format!("the manifest {}", self.bundle.run),
                found: found.unwrap_or_else(|| "none".to_owned()),
                expected: digest,
            }),
        }
    }

    async fn blob(&self, image: &Reference, file: &BundleFile) -> Result<(), PublishError> {
        let digest = format!("sha256:{}", file.sha256);
        let failed = |error| self.failed(format!("write {}", file.name), &error);
        if self
            .client
            .blob_exists(image, &digest)
            .await
            .map_err(failed)?
        {
            self.counter.done(file.size_bytes);
            return Ok(());
        }
        let pieces = transfer::stream(file, 0, file.size_bytes, self.counter).await?;
        let pieces = pieces.map(|piece| piece.map_err(OciDistributionError::IoError));
        let pushed = self
            .client
            .push_blob_stream(image, pieces, &digest, Some(file.size_bytes));
        pushed.await.map(|_| ()).map_err(failed)
    }

    async fn small_blob(&self, image: &Reference, bytes: &[u8]) -> Result<String, PublishError> {
        let digest = format!("sha256:{}", digest_bytes(bytes));
        let failed = |error| self.failed("write the config".to_owned(), &error);
        if !self
            .client
            .blob_exists(image, &digest)
            .await
            .map_err(failed)?
        {
            let pushed = self.client.push_blob(image, bytes.to_vec(), &digest).await;
            pushed.map_err(failed)?;
        }
        Ok(digest)
    }

    /// The digest of the manifest that a tag names.
    async fn tagged(&self, image: &Reference) -> Result<Option<String>, PublishError> {
        match self.client.fetch_manifest_digest(image, &self.auth).await {
            Ok(digest) => Ok(Some(digest.trim_start_matches("sha256:").to_owned())),
            Err(OciDistributionError::ImageManifestNotFoundError(_)) => Ok(None),
            Err(OciDistributionError::ServerError { code: 404, .. }) => Ok(None),
            Err(OciDistributionError::RegistryError { envelope, .. })
                if format!("{envelope:?}").contains("ManifestUnknown")
                    || format!("{envelope:?}").contains("NameUnknown") =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failed(format!("look up {image}"), &error)),
        }
    }

    async fn tag_manifest(&self, image: &Reference, manifest: &str) -> Result<(), PublishError> {
        let kind = HeaderValue::from_static(MANIFEST);
        let pushed = self
            .client
            .push_manifest_raw(image, manifest.as_bytes().to_vec(), kind);
        pushed
            .await
            .map(|_| ())
            .map_err(|error| self.failed(format!("write the manifest of {image}"), &error))
    }

    fn config(&self) -> Value {
        let digests: Vec<String> = self
            .bundle
            .files
            .iter()
            .map(|file| format!("sha256:{}", file.sha256))
            .collect();
        let has = |end: &str| {
            self.bundle
                .files
                .iter()
                .any(|file| file.name.ends_with(end))
        };
        let format = if has(".safetensors") || !has(".gguf") {
            "safetensors"
        } else {
            "gguf"
        };
        json!({
            "descriptor": {"name": self.bundle.run, "version": self.bundle.run},
            "config": {"format": format},
            "modelfs": {"type": "layers", "diffIds": digests},
        })
    }

    fn failed(&self, doing: String, error: &OciDistributionError) -> PublishError {
        let why = self.secrets.scrub(&chain(error));
        PublishError::Failed {
            registry: KIND,
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

fn layer(file: &BundleFile) -> Value {
    let name = file.name.as_str();
    let what = match name.rsplit('.').next() {
        Some("safetensors" | "gguf" | "bin") => "weight",
        Some("md" | "html") => "doc",
        Some("py") => "code",
        _ => "weight.config",
    };
    json!({
        "mediaType": format!("application/vnd.cncf.model.{what}.v1.raw"),
        "digest": format!("sha256:{}", file.sha256),
        "size": file.size_bytes,
        "annotations": {"org.cncf.model.filepath": name},
    })
}
