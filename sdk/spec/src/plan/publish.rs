//! Where a finished model goes: the resolved entries of `publish`.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A registry to publish to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "registry", rename_all = "snake_case", deny_unknown_fields)]
pub enum Publish {
    /// A folder of versions: `PATH/NAME/VERSION/…` and a `latest` pointer.
    Folder {
        /// The registry's folder, absolute; made when it is not there yet.
        path: PathBuf,
        /// The model's name in it.
        name: String,
    },
    /// An MLflow server: a run, its artifacts, and a version of a registered model.
    Mlflow(ToMlflow),
    /// A repository of the Hugging Face Hub.
    Huggingface(ToHub),
    /// A repository of an OCI registry.
    Oci(ToOci),
    /// A bucket of S3, or of a service that speaks S3.
    S3(ToObjects),
    /// A bucket of Google Cloud Storage.
    Gcs(ToObjects),
    /// A container of Azure Blob Storage.
    Azure(ToObjects),
}

/// An MLflow server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToMlflow {
    /// The tracking server; where it is `None`, the daemon's own setting says.
    pub url: Option<String>,
    /// Whether an `http:` URL may lead beyond this machine.
    pub plain_http: bool,
    /// The experiment that the run is recorded in.
    pub experiment: String,
    /// The registered model.
    pub name: String,
    /// The alias that the new version gets.
    pub alias: Option<String>,
    /// How to prove who asks.
    pub credentials: Credentials,
}

/// A repository of the Hugging Face Hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToHub {
    /// The Hub; where it is `None`, the daemon's own setting says.
    pub url: Option<String>,
    /// Whether an `http:` URL may lead beyond this machine.
    pub plain_http: bool,
    /// `ORGANIZATION/NAME`; made when it is not there yet.
    pub repository: String,
    /// Whether a new repository is private.
    pub private: bool,
    /// How to prove who asks.
    pub credentials: Credentials,
}

/// A repository of an OCI registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToOci {
    /// `HOST[:PORT]/PATH`.
    pub repository: String,
    /// The tag that follows the newest run; the run's own ID is a tag, too.
    pub tag: String,
    /// Whether plain HTTP may lead beyond this machine.
    pub plain_http: bool,
    /// How to prove who asks.
    pub credentials: Credentials,
}

/// A bucket of an object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToObjects {
    /// The service; where it is `None`, the daemon's own setting says, else it is the cloud's own.
    pub url: Option<String>,
    /// Whether an `http:` URL may lead beyond this machine.
    pub plain_http: bool,
    /// Bucket or container.
    pub bucket: String,
    /// What object names begin with, without a `/` at either end; may be empty.
    pub prefix: String,
    /// The model's name, after the prefix.
    pub name: String,
    /// The region; `None` where the service has none.
    pub region: Option<String>,
    /// Whose keys they are: an S3 access key ID, an Azure account.
    pub account: Option<Secret>,
    /// S3 secret access key, Azure access key, or a Google service account's JSON key. Without it
    /// the environment's own credentials are used.
    pub key: Option<Secret>,
}

/// How a request proves who sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// A token.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
}

/// Where a secret is; never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// In this environment variable of the daemon.
    Env(String),
    /// In this file, absolute.
    File(PathBuf),
}

impl Publish {
    /// The word in a spec, which is a label in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "folder",
            Self::Mlflow(_) => "mlflow",
            Self::Huggingface(_) => "huggingface",
            Self::Oci(_) => "oci",
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Azure(_) => "azure",
        }
    }

    /// Every kind.
    pub const KINDS: [&'static str; 7] = [
        "folder",
        "mlflow",
        "huggingface",
        "oci",
        "s3",
        "gcs",
        "azure",
    ];

    /// The secrets that it needs.
    pub fn secrets(&self) -> Vec<&Secret> {
        let credentials = match self {
            Self::Folder { .. } => return Vec::new(),
            Self::S3(to) | Self::Gcs(to) | Self::Azure(to) => {
                return to.account.iter().chain(&to.key).collect();
            }
            Self::Mlflow(to) => &to.credentials,
            Self::Huggingface(to) => &to.credentials,
            Self::Oci(to) => &to.credentials,
        };
        credentials.secrets()
    }
}

impl Credentials {
    /// The secrets that they need.
    pub fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::None => Vec::new(),
            Self::Bearer { token } => vec![token],
            Self::Basic { password, .. } => vec![password],
        }
    }
}

/// The place, as a person names it; no two entries of a spec have the same.
impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |url: &Option<String>| {
            url.as_ref()
                .map_or_else(String::new, |url| format!(" at {url}"))
        };
        match self {
            Self::Folder { path, name } => write!(f, "{}", path.join(name).display()),
            Self::Mlflow(to) => write!(f, "mlflow:models:/{}{}", to.name, at(&to.url)),
            Self::Huggingface(to) => write!(f, "hf://{}{}", to.repository, at(&to.url)),
            Self::Oci(to) => write!(f, "oci://{}:{}", to.repository, to.tag),
            Self::S3(to) => write!(f, "s3://{}{}", to.place(), at(&to.url)),
            Self::Gcs(to) => write!(f, "gs://{}{}", to.place(), at(&to.url)),
            Self::Azure(to) => write!(f, "az://{}{}", to.place(), at(&to.url)),
        }
    }
}

impl ToObjects {
    /// `BUCKET/PREFIX/NAME`.
    fn place(&self) -> String {
        [&self.bucket, &self.prefix, &self.name]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("/")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}
