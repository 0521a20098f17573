//! `evopressd publish`: publishes a finished run on request.

use std::sync::Arc;

use evopress_spec::RunDir;
use evopressd::config::{ServeFile, SupervisorSettings, Tools, default_state};
use evopressd::journal::{Journal, RunState};
use evopressd::metrics::Metrics;
use evopressd::progress::Board;
use evopressd::publish::{Which, plan_of};
use evopressd::state_dir::StateDir;
use evopressd::supervise::Supervisor;
use evopressd::worker_process::Worker;
use tokio::sync::Notify;

use super::signals::stop_on_signal;
use super::{Exit, show, usage};
use crate::cli::PublishFlags;

pub(crate) async fn publish(flags: PublishFlags) -> anyhow::Result<Exit> {
    let file = flags.config.as_deref().map(ServeFile::read).transpose();
    let file = file.map_err(usage)?.unwrap_or_default();
    let state = flags.state.or(file.state).unwrap_or_else(default_state);
    let state = StateDir::existing(&state).map_err(usage)?;
    let journal = Arc::new(Journal::open(&state.journal())?);
    let run = journal
        .get(&flags.run)?
        .ok_or_else(|| usage(format!("there is no run {}", flags.run)))?;
    if run.state != RunState::Done {
        return Err(usage(format!(
            "run {} is {}: only a run that is done is published",
            run.id, run.state
        )));
    }
    let plan = plan_of(&RunDir::of_run(state.root(), &run.id))?;
    let is_meant = |it: &evopress_spec::Publish| match &flags.to {
        Some(name) => it.kind() == name || it.to_string() == *name,
        None => true,
    };
    let meant: Vec<usize> = plan
        .publish
        .iter()
        .enumerate()
        .filter_map(|(idx, it)| is_meant(it).then_some(idx))
        .collect();
    if meant.is_empty() {
        let there: Vec<_> = plan
            .publish
            .iter()
            .map(|it| format!("{} ({it})", it.kind()))
            .collect();
        let there = if there.is_empty() {
            "none".to_owned()
        } else {
            there.join(", ")
        };
        let sought = flags.to.unwrap_or_default();
        return Err(usage(format!(
            "run {} has no registry {sought:?} in its spec; it has {there}",
            run.id
        )));
    }
    let supervisor = Supervisor {
        metrics: Metrics::new(journal.clone())?.work,
        settings: SupervisorSettings {
            endpoints: file.endpoints.or_from_environment(),
            ..SupervisorSettings::default()
        },
        board: Arc::new(Board::default()),
        wake: Arc::new(Notify::new()),
        unpublished: Arc::new(Notify::new()),
        stop: stop_on_signal("evopressd: stopping")?,
        worker: Arc::new(Worker::new(Tools::resolve(flags.tools).map_err(usage)?)?),
        state,
        journal,
    };
    let outcome = supervisor
        .publish_again(&run.id, Which::Again(meant))
        .await?;
    for place in &outcome.published {
        show::print(&format!(
            "published: {} ({} {})\n",
            place.location, place.registry, place.version
        ))?;
    }
    for (registry, error) in &outcome.failed {
        eprintln!("evopressd: {registry}: {error}");
    }
    Ok(if outcome.failed.is_empty() {
        Exit::Done
    } else {
        Exit::Unpublished
    })
}
