//! The registries that models come from, behind one type.

use std::time::Duration;

use evopress_spec::{Address, Credentials, Origin, Secret};

use super::FetchError;
use super::error::ErrorContext;
use super::file_stream::FileStream;
use super::hub::Hub;
use super::listing::{Listing, RemoteFile};
use super::mlflow::Mlflow;
use super::oci::Oci;
use super::s3::S3;
use crate::Endpoints;

/// The time limit for an answer. The files that follow it have a limit of their own.
const ANSWER: Duration = Duration::from_secs(120);

/// A model in a registry.
pub(super) enum Source {
    Hub(Hub),
    S3(S3),
    Oci(Oci),
    Mlflow(Mlflow),
}

impl Source {
    /// Reads the secrets. No request is sent yet.
    ///
    /// # Errors
    /// A setting makes no sense, or a secret is not there.
    pub(super) fn new(origin: &Origin, endpoints: &Endpoints) -> Result<Self, FetchError> {
        let credentials = credentials(origin);
        let context = ErrorContext {
            address: origin.address.to_string(),
            hint: hint(origin, &credentials),
        };
        let source = match &origin.address {
            Address::Hub { .. } => {
                Hub::new(origin, &credentials, endpoints, context).map(Self::Hub)
            }
            Address::S3 { .. } => S3::new(origin, endpoints, context).map(Self::S3),
            Address::Oci { .. } => Oci::new(origin, &credentials, context).map(Self::Oci),
            Address::Mlflow { .. } => {
                Mlflow::new(origin, &credentials, endpoints, context).map(Self::Mlflow)
            }
        };
        source.map_err(FetchError::Registry)
    }

    pub(super) fn context(&self) -> &ErrorContext {
        match self {
            Self::Hub(source) => &source.context,
            Self::S3(source) => &source.context,
            Self::Oci(source) => &source.context,
            Self::Mlflow(source) => &source.context,
        }
    }

    /// What is there now.
    ///
    /// # Errors
    /// There is no such model, or no answer.
    pub(super) async fn list(&self) -> Result<Listing, FetchError> {
        let listing = async {
            match self {
                Self::Hub(source) => source.list().await,
                Self::S3(source) => source.list().await,
                Self::Oci(source) => source.list().await,
                Self::Mlflow(source) => source.list().await,
            }
        };
        self.in_time(listing).await
    }

    /// A file from `offset` on, or from its beginning where the source cannot begin elsewhere.
    ///
    /// # Errors
    /// It is not there, or there is no answer.
    pub(super) async fn open(
        &self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<FileStream, FetchError> {
        let opening = async {
            match self {
                Self::Hub(source) => source.open(file, offset).await,
                Self::S3(source) => source.open(file, offset).await,
                Self::Oci(source) => source.open(file, offset).await,
                Self::Mlflow(source) => source.open(file, offset).await,
            }
        };
        self.in_time(opening).await
    }

    async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let answer = tokio::time::timeout(ANSWER, asking).await;
        answer.unwrap_or_else(|_| {
            let seconds = ANSWER.as_secs();
            Err(self
                .context()
                .interrupted(format!("no answer came within {seconds} s")))
        })
    }
}

/// The credentials of the spec, else those of the environment variables that the services' own
/// tools read.
fn credentials(origin: &Origin) -> Credentials {
    if origin.credentials != Credentials::None {
        return origin.credentials.clone();
    }
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let secret = |name: &str| value(name).map(|_| Secret::Env(name.to_owned()));
    let bearer = |name: &str| secret(name).map(|token| Credentials::Bearer { token });
    let basic = |username: &str, password: &str| {
        Some(Credentials::Basic {
            username: value(username)?,
            password: secret(password)?,
        })
    };
    let found = match origin.address {
        Address::Hub { .. } => bearer("HF_TOKEN"),
        Address::Mlflow { .. } => bearer("MLFLOW_TRACKING_TOKEN")
            .or_else(|| basic("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")),
        _ => None,
    };
    found.unwrap_or_default()
}

/// What to do where a model may not be read.
fn hint(origin: &Origin, credentials: &Credentials) -> String {
    let missing = match origin.address {
        Address::Hub { .. } => "a private or gated model needs `model.token`, or HF_TOKEN",
        Address::S3 { .. } => {
            return "it needs `model.account` and `model.key`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of \
                    somebody who may read it"
                .to_owned();
        }
        Address::Oci { .. } => "it needs `model.username` and `model.password`, or `model.token`",
        Address::Mlflow { .. } => {
            "it needs `model.username` and `model.password`, `model.token`, or MLflow's own environment variables"
        }
    };
    match credentials {
        Credentials::None => missing.to_owned(),
        Credentials::Bearer { token } => format!("the token is that of {token}"),
        Credentials::Basic { username, password } => {
            format!("the user is {username}, and the password is that of {password}")
        }
    }
}
