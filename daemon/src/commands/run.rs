//! `evopressd run`: runs one spec in this process and waits for its end.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use evopress_registries::Endpoints;
use evopress_spec::RunDir;
use evopressd::config::{DEFAULT_CACHE_BYTES, SupervisorSettings, Tools, default_state};
use evopressd::intake::{Admission, Fetching, Intake, read_spec};
use evopressd::journal::{Change, Journal, Origin, Run, RunState};
use evopressd::metrics::Metrics;
use evopressd::progress::{Board, follow};
use evopressd::publish::Which;
use evopressd::state_dir::{StateDir, Use};
use evopressd::supervise::{DriveError, Supervisor};
use evopressd::worker_process::Worker;
use tokio::sync::Notify;

use super::signals::stop_on_signal;
use super::{Exit, show, usage};
use crate::cli::RunFlags;

pub(crate) async fn run(flags: RunFlags) -> anyhow::Result<Exit> {
    let spec = std::path::absolute(&flags.spec)?;
    let text = read_spec(&spec)
        .map_err(|error| usage(format!("cannot read {}: {error}", flags.spec.display())))?;
    let mut tools = Tools::resolve(flags.tools).map_err(usage)?;
    tools.resources = flags.resources;
    let state = StateDir::create(&flags.state.unwrap_or_else(default_state))?;
    let _held = state.hold(Use::Shared)?;
    tools.cache = Some(state.cache());
    let journal = Arc::new(Journal::open(&state.journal())?);
    let worker = Arc::new(Worker::new(tools)?);

    let intake = Intake {
        state: state.clone(),
        journal: journal.clone(),
        worker: worker.clone(),
        endpoints: Endpoints::default().or_from_environment(),
        fetching: Fetching::Shown,
    };
    let found = match intake.admit(&spec, &text, Origin::Command).await? {
        Admission::Rejected { mistakes, .. } => {
            show::mistakes(&mistakes, &flags.spec, &text);
            return Ok(Exit::BadSpec);
        }
        Admission::Queued(run) => run,
        Admission::Known(run) if run.state.is_final() && !is_pending(&run) => {
            eprintln!(
                "The same spec with the same inputs is not run twice: this is the report of {}.",
                run.id
            );
            return show::end(&run, &RunDir::of_run(state.root(), &run.id), flags.json);
        }
        Admission::Known(run) => run,
    };

    let run_dir = RunDir::of_run(state.root(), &found.id);
    let supervisor = Supervisor {
        metrics: Metrics::new(journal.clone())?.work,
        settings: SupervisorSettings {
            cache_max_bytes: flags.cache_size.map_or(DEFAULT_CACHE_BYTES, |size| size.0),
            ..SupervisorSettings::default()
        },
        board: Arc::new(Board::default()),
        wake: Arc::new(Notify::new()),
        unpublished: Arc::new(Notify::new()),
        stop: stop_on_signal(
            "evopressd: stopping; the run can be continued with the same command",
        )?,
        state,
        journal: journal.clone(),
        worker,
    };
    let mut view = show::view();
    let driving = drive(&supervisor, &journal, found);
    let ended = tokio::select! {
        biased; // the run is claimed before it is shown
        ended = driving => {
            view.close();
            ended?
        }
        failed = follow(&journal, &run_dir, &mut view) => failed?,
    };
    show::end(&ended, &run_dir, flags.json)
}

/// Drives the run, unless another process does: then waits for that one.
async fn drive(supervisor: &Supervisor, journal: &Journal, run: Run) -> anyhow::Result<Run> {
    let id = run.id.clone();
    let ready = match run.state {
        RunState::Interrupted => {
            journal.transition(&id, RunState::Queued, Change::default())?;
            journal.transition(&id, RunState::Running, Change::default())?
        }
        RunState::Publishing => run,
        RunState::Done => return publish(supervisor, journal, run).await,
        _ => journal.transition(&id, RunState::Running, Change::default())?,
    };
    match supervisor.drive(ready, 0).await {
        Ok(run) => publish(supervisor, journal, run).await,
        Err(DriveError::InProgress(_)) => std::future::pending().await,
        Err(error) => Err(anyhow!(error)).with_context(|| format!("run {id} cannot be continued")),
    }
}

fn is_pending(run: &Run) -> bool {
    run.state == RunState::Done && run.reason.is_some()
}

/// Nobody tries again after this command, so it tries a few times itself.
async fn publish(supervisor: &Supervisor, journal: &Journal, run: Run) -> anyhow::Result<Run> {
    let mut pause = supervisor.settings.backoff;
    let mut now = run;
    for _ in 1..supervisor.settings.attempts {
        if !is_pending(&now) {
            break;
        }
        if tokio::time::timeout(pause, supervisor.stop.requested())
            .await
            .is_ok()
        {
            break;
        }
        supervisor.publish_again(&now.id, Which::Missing).await?;
        now = journal.get(&now.id)?.unwrap_or(now);
        pause *= 2;
    }
    Ok(now)
}
