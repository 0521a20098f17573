//! `evopressd follow`: a run of a running daemon, seen from outside.

use std::time::Duration;

use evopress_spec::RunDir;
use evopressd::config::default_state;
use evopressd::journal::{Journal, Run, RunState};
use evopressd::state_dir::StateDir;

use super::{Exit, show, usage};
use crate::cli::FollowFlags;

pub(crate) async fn follow(flags: FollowFlags) -> anyhow::Result<Exit> {
    let state =
        StateDir::existing(&flags.state.clone().unwrap_or_else(default_state)).map_err(usage)?;
    let journal = Journal::open(&state.journal())?;
    let run = find(&journal, &flags).await?;
    if run.state == RunState::Rejected {
        let reason = run.reason.unwrap_or_default();
        eprintln!(
            "The spec {} was rejected: {reason}",
            run.spec_path.display()
        );
        return Ok(Exit::BadSpec);
    }
    if !run.state.is_final() && !state.is_held() {
        eprintln!(
            "No evopressd is using {} now. The run continues when one starts there.",
            state.root().display()
        );
    }
    let run_dir = RunDir::of_run(state.root(), &run.id);
    let mut view = show::view();
    let ended = evopressd::progress::follow(&journal, &run_dir, &mut view).await?;
    show::end(&ended, &run_dir, flags.json)
}

async fn find(journal: &Journal, flags: &FollowFlags) -> anyhow::Result<Run> {
    if let Some(id) = &flags.run {
        return journal
            .get(id)?
            .ok_or_else(|| usage(format!("there is no run {id}; GET /api/runs lists them")));
    }
    let mut told = false;
    loop {
        if let Some(run) = journal.newest(flags.name.as_deref())? {
            return Ok(run);
        }
        if !told {
            eprintln!(
                "waiting for a run{}",
                flags
                    .name
                    .as_ref()
                    .map_or_else(String::new, |name| format!(" of {name}"))
            );
            told = true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
