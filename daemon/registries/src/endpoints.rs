//! Base URLs of services for entries that name none: from the config file, else from the
//! environment variables that these services' own tools read.

use serde::Deserialize;

/// Base URLs; `None` is the service's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    /// Of the MLflow server. Environment: `MLFLOW_TRACKING_URI`.
    pub mlflow: Option<String>,
    /// Of the Hugging Face Hub. Environment: `HF_ENDPOINT`; else <https://huggingface.co>.
    pub huggingface: Option<String>,
    /// Of the S3 service. Environment: `AWS_ENDPOINT_URL`; else AWS.
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
