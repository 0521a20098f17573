//! Access to the Xet store, which the Hub gives for some minutes at a time, and what went wrong
//! there.

use std::sync::{Mutex, PoisonError};

use reqwest::Method;
use serde_json::Value;
use tokio::runtime::Handle;
use xet_client::ClientError;
use xet_client::cas_client::auth::{AuthError, TokenInfo, TokenRefresher};
use xet_data::DataError;

use super::KIND;
use crate::PublishError;
use crate::http::{Http, chain};
use crate::secrets::Secrets;

const WHAT: &str = "the request for access to its Xet store";

/// What the Hub gives to those who may write to a repository.
pub(super) struct Access {
    http: Http,
    path: String,
    /// Of the thread on which everything else is asked: connections that wait to be used again
    /// belong to it.
    handle: Handle,
    secrets: Mutex<Secrets>,
    /// The reason why it gave none.
    refusal: Mutex<Option<PublishError>>,
}

#[async_trait::async_trait]
impl TokenRefresher for Access {
    async fn refresh(&self) -> Result<TokenInfo, AuthError> {
        self.ask().await.map(|(_, token)| token).map_err(|error| {
            let failure = AuthError::token_refresh_failure(&error);
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            failure
        })
    }
}

impl Access {
    pub(super) fn new(http: &Http, repository: &str) -> Self {
        Self {
            http: http.clone(),
            path: format!("/api/models/{repository}/xet-write-token/main"),
            handle: Handle::current(),
            secrets: Mutex::default(),
            refusal: Mutex::default(),
        }
    }

    /// Where the store is, and a token for it with the time when it expires, in seconds since 1970.
    ///
    /// # Errors
    /// The Hub cannot be reached, or gives none.
    pub(super) async fn ask(&self) -> Result<(String, TokenInfo), PublishError> {
        let (http, path) = (self.http.clone(), self.path.clone());
        let asked = async move { http.json(WHAT, http.request(Method::GET, &path)).await };
        let asked = self.handle.spawn(asked);
        let answer = asked.await.map_err(|error| failed(error.to_string()))??;
        let text = |field: &str| {
            let text = answer[field].as_str().map(str::to_owned);
            text.ok_or_else(|| self.http.lacks(WHAT, field))
        };
        let expiration = answer["exp"].as_u64();
        let expiration = expiration.ok_or_else(|| self.http.lacks(WHAT, "exp"))?;
        let (url, token) = (text("casUrl")?, text("accessToken")?);
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.remember(&token);
        Ok((url, (token, expiration)))
    }

    /// What the crates say, in our words.
    pub(super) fn failed(&self, url: &str, error: &DataError) -> PublishError {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusal) = refusal.take() {
            return refusal;
        }
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let why = secrets.scrub(&chain(error));
        match error {
            DataError::ClientError(error) => match (error.status(), error) {
                (Some(status), _) => {
                    let what = "the upload to its Xet store";
                    self.http.refused(what, status, &Value::Null)
                }
                (None, ClientError::ReqwestError(..) | ClientError::ReqwestMiddlewareError(..)) => {
                    PublishError::Unreachable {
                        registry: KIND,
                        url: url.to_owned(),
                        why,
                    }
                }
                _ => failed(why),
            },
            _ => failed(why),
        }
    }
}

fn failed(why: String) -> PublishError {
    PublishError::Failed {
        registry: KIND,
        doing: "upload by Xet".to_owned(),
        why,
    }
}
