//! An artifact of an OCI registry in the CNCF ModelPack layout: one layer a file. Everything has a
//! SHA-256.

use evopress_core::digest_bytes;
use evopress_spec::{Address, Credentials, Origin};
use futures_util::{StreamExt, TryStreamExt};
use oci_client::Reference;
use oci_client::client::{BlobResponse, Client};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use serde_json::Value;

use super::FetchError;
use super::error::ErrorContext;
use super::file_stream::FileStream;
use super::listing::{FileDigest, Listing, RemoteFile};
use crate::PublishError;
use crate::http::chain;
use crate::oci::{KIND, MANIFEST, client_of, image_of};
use crate::secrets::Secrets;

/// What names the file of a layer: ModelPack's annotation, and that of other tools.
const FILE_NAMES: [&str; 2] = ["org.cncf.model.filepath", "org.opencontainers.image.title"];

/// An artifact.
pub(super) struct Oci {
    pub(super) context: ErrorContext,
    client: Client,
    auth: RegistryAuth,
    secrets: Secrets,
    image: Reference,
}

impl Oci {
    pub(super) fn new(
        origin: &Origin,
        credentials: &Credentials,
        context: ErrorContext,
    ) -> Result<Self, PublishError> {
        let Address::Oci {
            repository,
            reference,
        } = &origin.address
        else {
            return Err(PublishError::Settings("it is not of OCI".to_owned()));
        };
        let mut secrets = Secrets::default();
        let (client, auth) = client_of(repository, origin.plain_http, credentials, &mut secrets)?;
        Ok(Self {
            image: image_of(repository, origin.version.as_ref().unwrap_or(reference))?,
            client,
            auth,
            secrets,
            context,
        })
    }

    pub(super) async fn list(&self) -> Result<Listing, FetchError> {
        let pulled = self
            .client
            .pull_manifest_raw(&self.image, &self.auth, &[MANIFEST])
            .await;
        let (text, _) = pulled.map_err(|error| self.failed(&error))?;
        let version = format!("sha256:{}", digest_bytes(&text));
        if let Some(expected) = self.image.digest().filter(|digest| **digest != version) {
            let expected = expected.to_owned();
            return Err(self.context.damaged("the manifest", version, expected));
        }
        let manifest: Value = serde_json::from_slice(&text).unwrap_or_default();
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let files = layers.filter_map(layer).collect();
        Ok(Listing { version, files })
    }

    pub(super) async fn open(
        &self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<FileStream, FetchError> {
        // Even from the beginning: of a part the client leaves it to us to say what is damaged.
        let opened = self
            .client
            .pull_blob_stream_partial(&self.image, file.at.as_str(), offset, None)
            .await;
        let (start, stream) = match opened.map_err(|error| self.failed(&error))? {
            BlobResponse::Full(stream) => (0, stream.stream),
            BlobResponse::Partial(stream) => (offset, stream.stream),
        };
        let context = self.context.clone();
        let pieces = stream.map_err(move |error| context.interrupted(chain(&error)));
        Ok(FileStream {
            start,
            pieces: pieces.boxed(),
        })
    }

    fn failed(&self, error: &OciDistributionError) -> FetchError {
        let why = self.secrets.scrub(&chain(error));
        let words: Vec<&str> = why.split_whitespace().collect();
        let why: String = words.join(" ").chars().take(400).collect();
        let said = format!("{error:?}");
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        match error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ServerError {
                code: 401 | 403, ..
            } => self.context.unauthorized(why),
            OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::ServerError { code: 404, .. } => self.context.missing(why),
            OciDistributionError::RegistryError { .. } if says(&["Unauthorized", "Denied"]) => {
                self.context.unauthorized(why)
            }
            OciDistributionError::RegistryError { .. }
                if says(&["ManifestUnknown", "NameUnknown", "BlobUnknown", "NotFound"]) =>
            {
                self.context.missing(why)
            }
            OciDistributionError::RequestError(_)
            | OciDistributionError::IoError(_)
            | OciDistributionError::ServerError {
                code: 408 | 429 | 500..,
                ..
            } => self.context.interrupted(why),
            OciDistributionError::RegistryError { .. } if says(&["Toomanyrequests"]) => {
                self.context.interrupted(why)
            }
            _ => FetchError::Registry(PublishError::Failed {
                registry: KIND,
                doing: format!("read {}", self.context.address),
                why,
            }),
        }
    }
}

/// The file that a layer holds; a layer that is an archive holds none that could be taken as it is.
fn layer(layer: &Value) -> Option<RemoteFile> {
    let annotations = &layer["annotations"];
    let path = FILE_NAMES
        .iter()
        .find_map(|name| annotations[*name].as_str())?;
    let kind = layer["mediaType"].as_str().unwrap_or_default();
    let is_archive = ["tar", "gzip", "zstd"]
        .iter()
        .any(|end| kind.ends_with(end));
    if is_archive || path.contains('/') {
        return None;
    }
    let digest = layer["digest"].as_str()?;
    Some(RemoteFile {
        name: path.to_owned(),
        at: digest.to_owned(),
        size_bytes: layer["size"].as_u64()?,
        digest: Some(FileDigest::Sha256(
            digest.strip_prefix("sha256:")?.to_owned(),
        )),
        etag: None,
    })
}
