//! `evopressd serve`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evopressd::config::{ServeFile, ServeFlags, ServeSettings, Tools};
use evopressd::http::{self, Site};
use evopressd::intake::{Admission, Fetching, Intake, IntakeError, read_spec};
use evopressd::journal::{Journal, Origin};
use evopressd::metrics::Metrics;
use evopressd::progress::Board;
use evopressd::state_dir::{StateDir, Use};
use evopressd::stop;
use evopressd::supervise::Supervisor;
use evopressd::watch::{Arrival, watch_folder};
use evopressd::worker_process::Worker;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::signals::stop_on_signal;
use super::{Exit, usage};

/// Specs that are checked at the same time.
const CHECKS: usize = 4;
/// Specs whose models are fetched at the same time.
const DOWNLOADS: usize = 2;

/// When the disk is full, the journal fails, or a model cannot be fetched, a spec is tried again
/// after this, and then after pauses that double up to the longest.
const TRY_AGAIN: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

pub(crate) async fn serve(flags: ServeFlags) -> anyhow::Result<Exit> {
    let file = flags
        .config
        .as_deref()
        .map(ServeFile::read)
        .transpose()
        .map_err(usage)?
        .unwrap_or_default();
    let settings = ServeSettings::resolve(flags, file).map_err(usage)?;

    let state = StateDir::create(&settings.state)?;
    let _held = state.hold(Use::Alone)?;
    let journal = Arc::new(Journal::open(&state.journal())?);
    let metrics = Metrics::new(journal.clone())?;
    let worker = Arc::new(Worker::new(Tools {
        cache: Some(state.cache()),
        ..settings.tools
    })?);
    let (board, wake) = (Arc::new(Board::default()), Arc::new(Notify::new()));
    let listener = TcpListener::bind(settings.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; set another address with --listen",
            settings.listen
        )
    })?;
    let address = listener.local_addr()?;
    let stopping = stop_on_signal("")?;

    let site = Arc::new(Site {
        state: state.clone(),
        journal: journal.clone(),
        board: board.clone(),
        metrics: metrics.clone(),
        allowed_hosts: settings.allowed_hosts,
    });
    // Metrics and page stay up while the workers stop; the end of the process ends them.
    let (_http_stop, never) = stop::channel();
    tokio::spawn(http::serve(listener, site, never));

    let (sender, arrivals) = mpsc::channel(64);
    tokio::spawn(watch_folder(
        settings.watch,
        settings.rescan,
        sender,
        metrics.watcher.clone(),
        stopping.clone(),
    ));
    let intake = Intake {
        state: state.clone(),
        journal: journal.clone(),
        worker: worker.clone(),
        endpoints: settings.supervisor.endpoints.clone(),
        fetching: Fetching::Logged,
    };
    tokio::spawn(admit_all(intake, arrivals, metrics.clone(), wake.clone()));

    let supervisor = Supervisor {
        state,
        journal,
        worker,
        settings: settings.supervisor,
        metrics: metrics.work.clone(),
        board,
        wake,
        unpublished: Arc::new(Notify::new()),
        stop: stopping.clone(),
    };
    let supervising = tokio::spawn(Arc::new(supervisor).serve());
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "evopressd is up");
    notify_systemd(NotifyState::Ready);

    tokio::spawn(async move {
        stopping.requested().await;
        metrics.draining.set(1);
        notify_systemd(NotifyState::Stopping);
    });
    supervising.await.context("the supervisor panicked")??;
    tracing::info!("evopressd has stopped");
    Ok(Exit::Done)
}

/// Admits whatever arrives, several at a time, so that a large model that must be hashed or fetched
/// holds up nobody else.
async fn admit_all(
    intake: Intake,
    mut arrivals: mpsc::Receiver<Arrival>,
    metrics: Metrics,
    wake: Arc<Notify>,
) {
    let checks = Arc::new(Semaphore::new(CHECKS));
    let downloads = Arc::new(Semaphore::new(DOWNLOADS));
    while let Some(arrival) = arrivals.recv().await {
        let (intake, metrics, wake) = (intake.clone(), metrics.clone(), wake.clone());
        let turns = if intake.comes_from_elsewhere(&arrival.path, &arrival.text) {
            downloads.clone()
        } else {
            checks.clone()
        };
        tokio::spawn(async move {
            let mut pause = TRY_AGAIN;
            loop {
                let Ok(turn) = turns.acquire().await else {
                    return;
                };
                match admit(&intake, &arrival, &wake).await {
                    Ok(outcome) => return metrics.specs.with_label_values(&[outcome]).inc(),
                    Err(error) => {
                        let spec = arrival.path.display();
                        tracing::error!(%spec, %error, "the spec can be neither queued nor refused now, and is tried again");
                    }
                }
                drop(turn);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                if is_replaced(&arrival) {
                    return;
                }
            }
        });
    }
}

/// Whether the file has changed or is gone since. A changed file arrives again by itself.
fn is_replaced(arrival: &Arrival) -> bool {
    match read_spec(&arrival.path) {
        Ok(text) => text != arrival.text,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Logs the outcome for a spec, and returns its label in the metrics.
async fn admit(
    intake: &Intake,
    arrival: &Arrival,
    wake: &Notify,
) -> Result<&'static str, IntakeError> {
    let spec = arrival.path.display();
    match intake
        .admit(&arrival.path, &arrival.text, Origin::Watch)
        .await?
    {
        Admission::Queued(run) => {
            tracing::info!(%spec, run = run.id, "spec is queued");
            wake.notify_one();
            Ok("queued")
        }
        Admission::Known(run) => {
            let (run, state) = (run.id, run.state);
            tracing::info!(%spec, run, %state, "spec is known: the same with the same inputs is not run twice");
            wake.notify_one();
            Ok("known")
        }
        Admission::Rejected { mistakes, record } => {
            let record = record.path().display();
            tracing::warn!(%spec, mistakes = mistakes.len(), %record, "spec is rejected");
            Ok("rejected")
        }
    }
}

fn notify_systemd(state: NotifyState<'_>) {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd cannot be notified");
    }
}
