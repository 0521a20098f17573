//! Follows a run from outside, through the journal and the run's events, whoever drives it.

use std::time::Duration;

use evopress_spec::RunDir;
use evopress_spec::events::Reader;

use super::{Live, View};
use crate::journal::{Journal, JournalError, Run, RunState};

const LOOK: Duration = Duration::from_millis(200);

/// Shows a run until it comes to a final state or is interrupted, and returns it as it is then.
///
/// # Errors
/// The journal cannot be read, or has no such run.
pub async fn follow(
    journal: &Journal,
    run_dir: &RunDir,
    view: &mut View,
) -> Result<Run, JournalError> {
    let id = run_dir.id();
    let mut reader = Reader::new(&run_dir.events());
    let mut live = Live::default();
    let mut attempt = 1;
    loop {
        // The state first: when it is final, the events that are read after it are complete.
        let run = journal
            .get(&id)?
            .ok_or_else(|| JournalError::Unknown(id.clone()))?;
        match reader.poll() {
            Ok(events) => events.iter().for_each(|event| live.apply(event)),
            Err(error) => tracing::warn!(run = id, %error, "events of the run cannot be read"),
        }
        if run.attempt > attempt {
            attempt = run.attempt;
            view.say(&format!(
                "attempt {attempt}: {}",
                run.reason.as_deref().unwrap_or("the worker crashed")
            ));
        }
        if run.state.is_final() || run.state == RunState::Interrupted {
            view.close();
            return Ok(run);
        }
        view.show(run.state, run.attempt, &live);
        tokio::time::sleep(LOOK).await;
    }
}
