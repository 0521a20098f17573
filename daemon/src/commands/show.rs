//! Results on stdout.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use evopress_spec::{Mistake, Report, RunDir, render};
use evopressd::journal::{Run, RunState};
use evopressd::progress::{View, ViewKind, final_table};
use serde::Serialize;

use super::Exit;

pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    print(&format!("{text}\n"))
}

/// Prints, and does not mind when the reader (`| head`) has gone.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot print")
        }
        _ => Ok(()),
    }
}

pub(super) fn view() -> View {
    View::new(if std::io::stderr().is_terminal() {
        ViewKind::Bar
    } else {
        ViewKind::Lines
    })
}

/// Shows all mistakes of a spec on stderr.
pub(super) fn mistakes(mistakes: &[Mistake], spec: &Path, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    eprint!(
        "{}",
        render(
            mistakes,
            &text,
            &spec.display().to_string(),
            std::io::stderr().is_terminal()
        )
    );
}

/// Shows the end of a run, and says which exit code it means.
pub(super) fn end(run: &Run, run_dir: &RunDir, as_json: bool) -> anyhow::Result<Exit> {
    let reason = run.reason.as_deref();
    match run.state {
        RunState::Interrupted => {
            eprintln!(
                "{}: interrupted: {}; it continues from its checkpoint",
                run.id,
                reason.unwrap_or("stopped")
            );
            return Ok(Exit::Interrupted);
        }
        RunState::Publishing | RunState::Running | RunState::Queued => {
            eprintln!("{}: still {}: it continues later", run.id, run.state);
            return Ok(Exit::Interrupted);
        }
        _ => {}
    }
    let path = run_dir.report_json();
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if as_json {
        print(&text)?;
        if !text.ends_with('\n') {
            print("\n")?;
        }
    } else {
        let report: Report =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        print(&final_table(&report, run_dir.path(), reason))?;
    }
    Ok(match run.state {
        RunState::Done if reason.is_some() => Exit::Unpublished,
        RunState::Done => Exit::Done,
        RunState::GateFailed => Exit::GateFailed,
        _ => Exit::Failed,
    })
}
