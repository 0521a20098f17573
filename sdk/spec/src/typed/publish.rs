//! What a person types about registries. Which fields an entry may have,
//! [`registries`](crate::registries) checks.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{NAME, NAME_HINT};

/// A registry to publish to. Which fields it has besides `name` depends on its kind.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"registry": "folder", "path": "registry"}))]
pub(crate) struct Publish {
    /// Kind of registry.
    pub(crate) registry: Registry,
    /// folder: the registry's folder, relative to the spec's folder or to a data root; made when it
    /// is not there yet. Default: none; it is required there.
    #[schemars(length(min = 1), example = &"registry")]
    pub(crate) path: Option<String>,
    /// folder, mlflow, s3, gcs, azure: name of the model in the registry: lower-case letters,
    /// digits and hyphens, at most 63 characters. Default: the pipeline's name.
    #[schemars(regex(pattern = NAME), example = &"smollm2-depth", extend("patternErrorMessage" = NAME_HINT))]
    pub(crate) name: Option<String>,
    /// mlflow, huggingface, s3, gcs, azure: base URL of the server. Default: the daemon's setting,
    /// else MLFLOW_TRACKING_URI, HF_ENDPOINT or AWS_ENDPOINT_URL, else the service's own.
    #[schemars(regex(pattern = "^https?://[^/@]+(/[^@]*)?$"), example = &"https://mlflow.example.org",
               extend("patternErrorMessage" = "an http or https URL without user name and password", "writeOnly" = true))]
    pub(crate) url: Option<String>,
    /// mlflow, huggingface, oci, s3, gcs, azure: whether plain http may lead beyond this machine.
    /// Default: false.
    #[schemars(example = false)]
    pub(crate) plain_http: Option<bool>,
    /// mlflow: the experiment. Default: the pipeline's name.
    #[schemars(length(min = 1, max = 250), example = &"compression")]
    pub(crate) experiment: Option<String>,
    /// mlflow: the alias that the new version gets. Default: none.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"), example = &"candidate",
               extend("patternErrorMessage" = "an alias of letters, digits, `_`, `-` and `.`"))]
    pub(crate) alias: Option<String>,
    /// huggingface: ORGANIZATION/NAME; oci: HOST[:PORT]/PATH. Made when it is not there yet.
    /// Default: none; it is required there.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+$"), example = &"acme/smollm2-depth",
               extend("patternErrorMessage" = "parts of letters, digits, `.`, `_` and `-` with `/` between them"))]
    pub(crate) repository: Option<String>,
    /// oci: the tag that follows the newest run; each run is also tagged with its ID. Default:
    /// latest.
    #[schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"), example = &"latest",
               extend("patternErrorMessage" = "a tag of letters, digits, `_`, `-` and `.`"))]
    pub(crate) tag: Option<String>,
    /// huggingface: whether a new repository is private. Default: true.
    #[schemars(example = true)]
    pub(crate) private: Option<bool>,
    /// s3, gcs: the bucket; azure: the container. Default: none; it is required there.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]{1,62}$"), example = &"models",
               extend("patternErrorMessage" = "a name of lower-case letters, digits, `.`, `_` and `-`"))]
    pub(crate) bucket: Option<String>,
    /// s3, gcs, azure: what the names of objects begin with. Default: nothing.
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"), example = &"team/edge",
               extend("patternErrorMessage" = "parts of letters, digits, `.`, `_` and `-` with `/` between them"))]
    pub(crate) prefix: Option<String>,
    /// s3: the region. Default: AWS_REGION, else us-east-1.
    #[schemars(length(min = 1, max = 64), example = &"eu-central-1")]
    pub(crate) region: Option<String>,
    /// mlflow, huggingface, oci: where the bearer token is.
    pub(crate) token: Option<Secret>,
    /// mlflow, oci: the user's name; with `password`. Default: none.
    #[schemars(length(min = 1, max = 200), example = &"ci")]
    pub(crate) username: Option<String>,
    /// mlflow, oci: where the password is; with `username`.
    pub(crate) password: Option<Secret>,
    /// s3: where the access key ID is; azure: where the account's name is. Default: the
    /// environment's own credentials.
    pub(crate) account: Option<Secret>,
    /// s3: where the secret access key is; azure: the access key; gcs: a service account's JSON
    /// key.
    pub(crate) key: Option<Secret>,
}

/// Where a secret is: exactly one of env and file.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1, "writeOnly" = true), example = serde_json::json!({"env": "REGISTRY_TOKEN"}))]
pub(crate) struct Secret {
    /// An environment variable of the daemon. Default: none.
    #[schemars(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]{0,127}$"), example = &"REGISTRY_TOKEN",
               extend("patternErrorMessage" = "the name of an environment variable", "writeOnly" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) env: Option<String>,
    /// A file, relative to the spec's folder. Default: none.
    #[schemars(length(min = 1), example = &"/run/secrets/registry-token")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
}

/// A kind of registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Registry {
    /// A folder of versions, PATH/NAME/VERSION, with a manifest of digests and a `latest` pointer.
    Folder,
    /// An MLflow server: a run with metrics, artifacts, and a version of a registered model.
    Mlflow,
    /// A repository of the Hugging Face Hub.
    Huggingface,
    /// A repository of an OCI registry, in the ModelPack layout.
    Oci,
    /// A bucket of S3, or of a service that speaks S3.
    S3,
    /// A bucket of Google Cloud Storage.
    Gcs,
    /// A container of Azure Blob Storage.
    Azure,
}
