//! The places that models come from, behind one face.

use std::time::Duration;

use bytes::Bytes;
use evopress_spec::{Address, Credentials, Origin, Secret};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::RequestBuilder;

use super::FetchError;
use super::error::Whose;
use super::hub::Hub;
use super::listing::{Listing, RemoteFile};
use super::mlflow::Mlflow;
use super::oci::Oci;
use super::s3::S3;
use crate::http::Http;
use crate::{Endpoints, PublishError};

/// For answers; what they bring is waited for longer.
const ANSWER: Duration = Duration::from_secs(120);

/// The bytes of a file, from `start` on.
pub(super) struct Opened {
    pub(super) start: u64,
    pub(super) pieces: Pieces,
}

pub(super) type Pieces = BoxStream<'static, Result<Bytes, FetchError>>;

impl Opened {
    /// What a server answers to `request` for a file from `offset` on.
    ///
    /// # Errors
    /// There is no answer, or another.
    pub(super) async fn over_http(
        http: &Http,
        whose: &Whose,
        file: &RemoteFile,
        request: RequestBuilder,
        offset: u64,
    ) -> Result<Self, PublishError> {
        let (start, pieces) = http.get_file(&file.name, request, offset).await?;
        let whose = whose.clone();
        let pieces = pieces.map(move |piece| piece.map_err(|error| whose.answered(error)));
        Ok(Self {
            start,
            pieces: pieces.boxed(),
        })
    }
}

/// A place with a model.
pub(super) enum Place {
    Hub(Hub),
    S3(S3),
    Oci(Oci),
    Mlflow(Mlflow),
}

impl Place {
    /// Reads the secrets; nothing is asked yet.
    ///
    /// # Errors
    /// A setting makes no sense, or a secret is not there.
    pub(super) fn new(origin: &Origin, endpoints: &Endpoints) -> Result<Self, FetchError> {
        let credentials = credentials(origin);
        let whose = Whose {
            address: origin.address.to_string(),
            hint: hint(origin, &credentials),
        };
        let place = match &origin.address {
            Address::Hub { .. } => Hub::new(origin, &credentials, endpoints, whose).map(Self::Hub),
            Address::S3 { .. } => S3::new(origin, endpoints, whose).map(Self::S3),
            Address::Oci { .. } => Oci::new(origin, &credentials, whose).map(Self::Oci),
            Address::Mlflow { .. } => {
                Mlflow::new(origin, &credentials, endpoints, whose).map(Self::Mlflow)
            }
        };
        place.map_err(FetchError::Registry)
    }

    pub(super) fn whose(&self) -> &Whose {
        match self {
            Self::Hub(place) => &place.whose,
            Self::S3(place) => &place.whose,
            Self::Oci(place) => &place.whose,
            Self::Mlflow(place) => &place.whose,
        }
    }

    /// What is there now.
    ///
    /// # Errors
    /// There is no such model, or no answer.
    pub(super) async fn list(&self) -> Result<Listing, FetchError> {
        let listing = async {
            match self {
                Self::Hub(place) => place.list().await,
                Self::S3(place) => place.list().await,
                Self::Oci(place) => place.list().await,
                Self::Mlflow(place) => place.list().await,
            }
        };
        self.in_time(listing).await
    }

    /// A file from `offset` on, or from its beginning where the place knows no other way.
    ///
    /// # Errors
    /// It is not there, or there is no answer.
    pub(super) async fn open(&self, file: &RemoteFile, offset: u64) -> Result<Opened, FetchError> {
        let opening = async {
            match self {
                Self::Hub(place) => place.open(file, offset).await,
                Self::S3(place) => place.open(file, offset).await,
                Self::Oci(place) => place.open(file, offset).await,
                Self::Mlflow(place) => place.open(file, offset).await,
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
                .whose()
                .interrupted(format!("no answer came within {seconds} s")))
        })
    }
}

/// Those of the spec, else those of the environment variables that the services' own tools read.
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
