//! Base URLs of services for entries that name none: from the config file, else from the
//! environment variables that these services' own tools read.

use schemars::JsonSchema;
use serde::Deserialize;

/// Base URLs of registries that specs do not name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    /// The MLflow server. Default: MLFLOW_TRACKING_URI; without it a spec has to name one.
    #[schemars(example = &"https://mlflow.example.org")]
    pub mlflow: Option<String>,
    /// The Hugging Face Hub. Default: HF_ENDPOINT, else <https://huggingface.co>.
    pub huggingface: Option<String>,
    /// The S3 service. Default: AWS_ENDPOINT_URL, else AWS.
    #[schemars(example = &"https://s3.example.org")]
    pub s3: Option<String>,
}

impl Endpoints {
    /// What is not set here is taken from the environment.
    #[must_use]
    pub fn or_from_environment(self) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            mlflow: self.mlflow.or_else(|| variable("MLFLOW_TRACKING_URI")),
            huggingface: self.huggingface.or_else(|| variable("HF_ENDPOINT")),
            s3: self.s3.or_else(|| variable("AWS_ENDPOINT_URL")),
        }
    }
}
