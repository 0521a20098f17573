//! JSON and files over HTTP, with sentences for what goes wrong.

use std::time::Duration;

use bytes::Bytes;
use evopress_spec::Credentials;
use futures_util::{Stream, StreamExt};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::secrets::{Auth, Secrets};
use crate::transfer::{self, Counter};
use crate::{BundleFile, PublishError};

const CONNECT: Duration = Duration::from_secs(10);
/// The time limit for answers without files. A transfer may take any time as long as it makes
/// progress.
const ANSWER: Duration = Duration::from_secs(120);
const MAX_REDIRECTS: usize = 10;
/// At most this much of a server's answer is shown.
const SAID_CHARS: usize = 300;

/// A server.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
    registry: &'static str,
    base: String,
    plain_http: bool,
    auth: Auth,
    secrets: Secrets,
}

impl Http {
    /// # Errors
    /// The URL would send secrets in the clear, or a secret is not there.
    pub(crate) fn new(
        registry: &'static str,
        base: &str,
        plain_http: bool,
        credentials: &Credentials,
    ) -> Result<Self, PublishError> {
        check_url(registry, base, plain_http)?;
        let mut secrets = Secrets::default();
        let auth = secrets.auth(credentials)?;
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .redirect(redirects(plain_http))
            .user_agent(concat!("evopressd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| PublishError::Settings(format!("cannot use TLS: {error}")))?;
        Ok(Self {
            client,
            registry,
            base: base.trim_end_matches('/').to_owned(),
            plain_http,
            auth,
            secrets,
        })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Whether a library that sends by itself may send to where the server has sent us.
    ///
    /// # Errors
    /// It would send in the clear.
    pub(crate) fn may_lead_to(&self, url: &str) -> Result<(), PublishError> {
        check_url(self.registry, url, self.plain_http)
    }

    /// A request to the server itself, with credentials.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.auth {
            Auth::None => request,
            Auth::Bearer(token) => request.bearer_auth(token),
            Auth::Basic(username, password) => request.basic_auth(username, Some(password)),
        }
    }

    /// A request to wherever the server has sent us; credentials go only where it is the same
    /// server.
    pub(crate) fn elsewhere(&self, method: Method, url: &str) -> RequestBuilder {
        match url.strip_prefix(&self.base) {
            Some(path) if path.starts_with('/') => self.request(method, path),
            _ => self.client.request(method, url),
        }
    }

    /// Sends a request. Any status is an answer.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, PublishError> {
        request
            .send()
            .await
            .map_err(|error| self.unreachable(error))
    }

    /// Sends a request. Returns the status and the answer, which is JSON, or null where it is
    /// empty.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn answer(
        &self,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Value), PublishError> {
        let response = self.send(request.timeout(ANSWER)).await?;
        let status = response.status();
        let text = response
            .text()
            .await
            .map_err(|error| self.unreachable(error))?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((status, value))
    }

    /// Sends a request that must succeed.
    ///
    /// # Errors
    /// There is no answer, or no success.
    pub(crate) async fn json(
        &self,
        what: &str,
        request: RequestBuilder,
    ) -> Result<Value, PublishError> {
        let (status, value) = self.answer(request).await?;
        if status.is_success() {
            Ok(value)
        } else {
            Err(self.refused(what, status, &value))
        }
    }

    /// Sends a file, or part of one, as the body.
    ///
    /// # Errors
    /// It cannot be read, or is not taken.
    pub(crate) async fn put_file(
        &self,
        what: &str,
        request: RequestBuilder,
        file: &BundleFile,
        part: (u64, u64),
        counter: &Counter,
    ) -> Result<Response, PublishError> {
        let (offset, length) = part;
        let body = transfer::stream(file, offset, length, counter).await?;
        let request = request
            .header("Content-Length", length)
            .body(reqwest::Body::wrap_stream(body));
        let response = self.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Err(self.refused(what, status, &value))
    }

    /// Requests a file from `offset` on. Returns the position at which the bytes begin, which is 0
    /// where the server cannot begin elsewhere, and the bytes.
    ///
    /// # Errors
    /// There is no answer, or no success.
    pub(crate) async fn get_file(
        &self,
        what: &str,
        request: RequestBuilder,
        offset: u64,
    ) -> Result<(u64, impl Stream<Item = Result<Bytes, PublishError>> + use<>), PublishError> {
        let request = match offset {
            0 => request,
            _ => request.header(RANGE, format!("bytes={offset}-")),
        };
        let response = self.send(request).await?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            return Err(self.refused(what, status, &Value::String(text)));
        }
        let is_part = status == StatusCode::PARTIAL_CONTENT;
        let range = response.headers().get(CONTENT_RANGE);
        let range = range.and_then(|range| range.to_str().ok());
        if is_part && range.is_none_or(|range| !range.starts_with(&format!("bytes {offset}-"))) {
            return Err(self.lacks(what, &format!("the bytes from {offset} on")));
        }
        let start = if is_part { offset } else { 0 };
        let (registry, url) = (self.registry, self.base.clone());
        let pieces = response.bytes_stream().map(move |piece| {
            piece.map_err(|error| PublishError::Unreachable {
                registry,
                url: url.clone(),
                why: chain(&error.without_url()),
            })
        });
        Ok((start, pieces))
    }

    /// SHA-256 and size of what the server has; `None` where it has nothing.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) async fn digest(
        &self,
        what: &str,
        request: RequestBuilder,
        counter: &Counter,
    ) -> Result<Option<(String, u64)>, PublishError> {
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if !status.is_success() => {
                let text = response.text().await.unwrap_or_default();
                return Err(self.refused(what, status, &Value::String(text)));
            }
            _ => {}
        }
        let pieces = response
            .bytes_stream()
            .map(|it| it.map_err(|error| self.unreachable(error)));
        transfer::digest(pieces, counter).await.map(Some)
    }

    /// The error for an answer without success.
    pub(crate) fn refused(&self, what: &str, status: StatusCode, said: &Value) -> PublishError {
        let text = match said {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            value => ["message", "error", "error_code"]
                .iter()
                .find_map(|field| value[field].as_str())
                .map_or_else(|| value.to_string(), str::to_owned),
        };
        let line = self
            .secrets
            .scrub(&text)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let mut said: String = line.chars().take(SAID_CHARS).collect();
        if said.is_empty() {
            said = status.canonical_reason().unwrap_or("no reason").to_owned();
        }
        PublishError::Refused {
            registry: self.registry,
            what: what.to_owned(),
            status: status.as_u16(),
            said,
        }
    }

    /// The error for an answer that lacks something.
    pub(crate) fn lacks(&self, what: &str, missing: &str) -> PublishError {
        PublishError::Answer {
            registry: self.registry,
            what: what.to_owned(),
            missing: missing.to_owned(),
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> PublishError {
        PublishError::Unreachable {
            registry: self.registry,
            url: self.base.clone(),
            why: self.secrets.scrub(&chain(&error.without_url())),
        }
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// A server may redirect us, but not from https to plain http, which others can read.
fn redirects(plain_http: bool) -> Policy {
    Policy::custom(move |attempt| {
        let url = attempt.url();
        if url.scheme() != "https" && !plain_http && !is_loopback(url) {
            return attempt.error("the server leads to plain http beyond this machine");
        }
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("the server leads from one place to the next");
        }
        attempt.follow()
    })
}

/// Checks that plain HTTP is used only with this machine, or where the spec allows it.
///
/// # Errors
/// It would be used with another machine.
pub(crate) fn check_url(
    registry: &'static str,
    url: &str,
    plain_http: bool,
) -> Result<(), PublishError> {
    let parsed = reqwest::Url::parse(url).map_err(|error| {
        PublishError::Settings(format!("the URL of {registry} cannot be read: {error}"))
    })?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(PublishError::Settings(format!(
            "the URL of {registry} holds a user name or a password: they belong into `username`, `password` or `token`"
        )));
    }
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if plain_http || is_loopback(&parsed) => Ok(()),
        "http" => Err(PublishError::Settings(format!(
            "{registry} at {url} is plain http beyond this machine, which needs `plain_http: true`"
        ))),
        scheme => Err(PublishError::Settings(format!(
            "the URL of {registry} begins with {scheme}:, expected https: or http:"
        ))),
    }
}

/// Whether a URL leads to this machine.
pub(crate) fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
