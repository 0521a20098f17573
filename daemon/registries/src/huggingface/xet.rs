//! The Hub's Xet store: files are cut into chunks by their content, and only those travel that the store has not got, of
//! this repository or any other. So an upload that was cut off is simply made again.
//!
//! Hugging Face's own crates do that, on threads that live as long as the upload, with a scratch folder that does, too.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue, USER_AGENT};
use serde_json::Value;
use tokio::runtime::{Builder, Handle, Runtime};
use xet_client::ClientError;
use xet_client::cas_client::auth::{AuthConfig, AuthError, TokenInfo, TokenRefresher};
use xet_data::DataError;
use xet_data::processing::configurations::{SessionContext, TranslatorConfig};
use xet_data::processing::{FileUploadSession, Sha256Policy, XetFileInfo};
use xet_runtime::config::XetConfig;
use xet_runtime::core::XetContext;

use super::KIND;
use crate::http::{Http, chain};
use crate::secrets::Secrets;
use crate::transfer::Counter;
use crate::{BundleFile, PublishError};

/// Time between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// Files are read one after the other, and so many pieces of up to 64 MiB are on their way at once: together they bound the
/// memory, whatever the files' size.
const PIECES_AT_ONCE: usize = 4;
/// Tries of one request; a whole publication is tried again by the daemon.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Sends files to the store to which the Hub leads.
///
/// # Errors
/// The Hub gives no access, the store cannot be reached or takes one of the files not, or a file is not what it was.
pub(super) async fn send(
    http: &Http,
    repository: &str,
    files: &[&BundleFile],
    counter: &Counter,
) -> Result<(), PublishError> {
    let hub = Arc::new(Hub {
        http: http.clone(),
        path: format!("/api/models/{repository}/xet-write-token/main"),
        handle: Handle::current(),
        secrets: Mutex::default(),
        refusal: Mutex::default(),
    });
    let (url, (token, token_expiration)) = access(http, &hub.path).await?;
    http.may_lead_to(&url)?;
    hub.remember(&token);

    let scratch = tempfile::Builder::new().prefix("evopressd-xet-").tempdir();
    let scratch = scratch.map_err(PublishError::io("write to", &std::env::temp_dir()))?;
    let threads = Threads::start()?;
    let agent = HeaderValue::from_static(concat!("evopressd/", env!("CARGO_PKG_VERSION")));
    let session = SessionContext {
        endpoint: url.clone(),
        auth: Some(AuthConfig {
            token,
            token_expiration,
            token_refresher: hub.clone(),
        }),
        custom_headers: Some(Arc::new(HeaderMap::from_iter([(USER_AGENT, agent)]))),
        repo_paths: Vec::new(),
        session_id: None,
        cache_root: Some(scratch.path().to_owned()),
    };
    let context = XetContext::from_external(threads.handle().clone(), settings());
    let upload = Upload {
        sources: files.iter().map(|file| file.source.clone()).collect(),
        size_bytes: files.iter().map(|file| file.size_bytes).sum(),
        counter: counter.clone(),
    };
    let sent = threads.handle().spawn(upload.run(context, session));
    let sent = sent.await.map_err(DataError::from).flatten();
    let sent = sent.map_err(|error| hub.failed(&url, error))?;
    for (file, info) in files.iter().zip(sent) {
        let found = info.sha256.unwrap_or_default();
        if found != file.sha256 {
            return Err(PublishError::Differs {
                registry: KIND,
                place: file.name.clone(),
                found,
                expected: file.sha256.clone(),
            });
        }
    }
    Ok(())
}

/// Where the store is, and a token for it with the time when it expires.
async fn access(http: &Http, path: &str) -> Result<(String, TokenInfo), PublishError> {
    let what = "the request for access to its Xet store";
    let answer = http.json(what, http.request(Method::GET, path)).await?;
    let text = |field: &str| {
        let text = answer[field].as_str().map(str::to_owned);
        text.ok_or_else(|| http.lacks(what, field))
    };
    let expiration = answer["exp"].as_u64();
    let expiration = expiration.ok_or_else(|| http.lacks(what, "exp"))?;
    Ok((text("casUrl")?, (text("accessToken")?, expiration)))
}

fn settings() -> XetConfig {
    let mut settings = XetConfig::default();
    settings.telemetry.enabled = false;
    settings.data.max_concurrent_file_ingestion = 1;
    settings.client.ac_max_upload_concurrency = PIECES_AT_ONCE;
    settings.client.retry_max_attempts = TRIES;
    settings.client.retry_base_delay = PAUSE;
    settings
}

/// The files of one upload.
struct Upload {
    sources: Vec<PathBuf>,
    size_bytes: u64,
    counter: Counter,
}

impl Upload {
    async fn run(
        self,
        context: XetContext,
        session: SessionContext,
    ) -> Result<Vec<XetFileInfo>, DataError> {
        let config = TranslatorConfig::new(&context, session)?;
        let session = FileUploadSession::new(Arc::new(config)).await?;
        let sources = self.sources.into_iter();
        let work = async {
            let files = sources.map(|source| (source, Sha256Policy::Compute));
            let infos = session.upload_files(files).await?;
            session.clone().finalize().await?;
            Ok(infos)
        };
        let mut work = pin!(work);
        let (mut done, mut moved) = (0, 0);
        loop {
            let ended = tokio::time::timeout(LOOK, &mut work).await;
            let report = session.report();
            let now = match ended {
                Ok(Ok(_)) => self.size_bytes,
                _ => report.total_bytes_completed.min(self.size_bytes),
            };
            self.counter.done(now.saturating_sub(done));
            let transferred = report.total_transfer_bytes_completed;
            self.counter.moved(transferred.saturating_sub(moved));
            (done, moved) = (done.max(now), moved.max(transferred));
            if let Ok(result) = ended {
                return result;
            }
        }
    }
}

/// The Hub, which gives a new token for the store when one expires.
struct Hub {
    http: Http,
    path: String,
    /// Of the thread on which everything else is asked: connections that wait to be used again belong to it.
    handle: Handle,
    secrets: Mutex<Secrets>,
    /// Why it gave none.
    refusal: Mutex<Option<PublishError>>,
}

#[async_trait::async_trait]
impl TokenRefresher for Hub {
    async fn refresh(&self) -> Result<TokenInfo, AuthError> {
        let (http, path) = (self.http.clone(), self.path.clone());
        let asked = self.handle.spawn(async move { access(&http, &path).await });
        match asked.await.map_err(AuthError::token_refresh_failure)? {
            Ok((_, info)) => {
                self.remember(&info.0);
                Ok(info)
            }
            Err(error) => {
                let failure = AuthError::token_refresh_failure(&error);
                *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(failure)
            }
        }
    }
}

impl Hub {
    fn remember(&self, token: &str) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.remember(token);
    }

    /// What the crates say, in our words.
    fn failed(&self, url: &str, error: DataError) -> PublishError {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusal) = refusal.take() {
            return refusal;
        }
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let why = secrets.scrub(&chain(&error));
        match error {
            DataError::ClientError(ref error) => match (error.status(), error) {
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

/// The threads of one upload; dropped, they end whatever they are at.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Self, PublishError> {
        let threads = Builder::new_multi_thread()
            .thread_name("xet")
            .enable_all()
            .build();
        threads.map(|threads| Self(Some(threads))).map_err(|error| {
            PublishError::Settings(format!("cannot start the threads of an upload: {error}"))
        })
    }

    fn handle(&self) -> &Handle {
        let threads = self.0.as_ref();
        threads.expect("taken only when dropped").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}
