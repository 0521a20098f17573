//! The Hub's Xet store: files are cut into chunks by their content, and only chunks are sent that
//! the store has in no repository. So an upload that was interrupted is simply repeated.
//!
//! Hugging Face's own crates do this, on threads and with a scratch folder that exist only during
//! the upload.

mod access;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, USER_AGENT};
use tokio::runtime::{Builder, Handle, Runtime};
use xet_client::cas_client::auth::AuthConfig;
use xet_data::DataError;
use xet_data::processing::configurations::{SessionContext, TranslatorConfig};
use xet_data::processing::{FileUploadSession, Sha256Policy, XetFileInfo};
use xet_runtime::config::XetConfig;
use xet_runtime::core::XetContext;

use self::access::Access;
use super::KIND;
use crate::http::Http;
use crate::transfer::Counter;
use crate::{BundleFile, PublishError};

/// Time between two polls of the progress.
const LOOK: Duration = Duration::from_millis(200);
/// Files are read one after the other, and so many pieces of up to 64 MiB are on their way at once:
/// together they bound the memory, whatever the files' size.
const PIECES_AT_ONCE: usize = 2;
/// Attempts at one request. The daemon repeats a publication that failed.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Sends files to the store to which the Hub leads.
///
/// # Errors
/// The Hub gives no access, the store cannot be reached or refuses a file, or a file has changed.
pub(super) async fn send(
    http: &Http,
    repository: &str,
    files: &[&BundleFile],
    counter: &Counter,
) -> Result<(), PublishError> {
    let access = Arc::new(Access::new(http, repository));
    let (url, (token, token_expiration)) = access.ask().await?;
    http.may_lead_to(&url)?;

    let scratch = tempfile::Builder::new().prefix("evopressd-xet-").tempdir();
    let scratch = scratch.map_err(PublishError::io("write to", &std::env::temp_dir()))?;
    let threads = Threads::start()?;
    let agent = HeaderValue::from_static(concat!("evopressd/", env!("CARGO_PKG_VERSION")));
    let session = SessionContext {
        endpoint: url.clone(),
        auth: Some(AuthConfig {
            token,
            token_expiration,
            token_refresher: access.clone(),
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
    let sent = sent.map_err(|error| access.failed(&url, &error))?;
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
