//! `evopress-worker`: one run of one pipeline, in a process of its own.
//!
//! The daemon never loads a plugin and never touches libtorch; this program does. It reads
//! `plan.json`, appends to `events.jsonl`, saves checkpoints, and leaves the artifacts and the
//! report in the run's folder. It publishes nothing.

mod artifact_layout;
mod check;
mod checkpoint;
mod cli;
mod compute;
mod digests;
#[cfg(test)]
mod example_reports;
mod identity;
mod manifest;
mod memory;
mod names;
mod plugins;
mod preflight;
mod prepare;
mod process;
mod recorder;
mod report_html;
mod run;
mod sentence;
mod sequence_start;
mod setup;
mod stages;
mod texts;

use std::fs::File;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use evopress_spec::{EventKind, RunDir, Status};

use cli::{Cli, Command, RunOptions};
use recorder::Recorder;
use sentence::sentence;

/// Exit code of a run whose model breaks a quality gate.
const GATE_FAILED: u8 = 3;

fn main() -> ExitCode {
    evopress::device::tune_allocator();
    let cli = Cli::parse();
    process::log_to_stderr();
    match cli.command {
        Command::Run(options) => attempt(&options),
        Command::Check(options) => cli::print_json(check::check(&options)),
        Command::Plugins(options) => cli::print_json(plugins::list(&options.plugins)),
    }
}

/// One attempt at a run: hold its folder, run its stages, record how they ended.
fn attempt(options: &RunOptions) -> ExitCode {
    process::die_with_parent();
    let dir = RunDir::new(&options.run_dir);
    let (recorder, _lock) = match open(&dir) {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("{}", sentence(&error));
            return ExitCode::FAILURE;
        }
    };
    let result = process::stop_flag()
        .map_err(anyhow::Error::from)
        .and_then(|stop| run::run(options, &dir, &recorder, stop));
    match result {
        Ok(Status::GateFailed) => ExitCode::from(GATE_FAILED),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => ended_early(&error, &recorder),
    }
}

/// Locks the run's folder: two workers on one run would mix their checkpoints.
fn open(dir: &RunDir) -> Result<(Recorder, File)> {
    let lock = process::lock(&dir.lock(), dir.path())?;
    Ok((Recorder::open(dir)?, lock))
}

/// Records why a run has no result: it was asked to stop, or it failed.
fn ended_early(error: &anyhow::Error, recorder: &Recorder) -> ExitCode {
    if evopress::Error::is_interruption(error.as_ref()) {
        tracing::info!("interrupted; the next attempt continues from the checkpoint");
        recorder.event(EventKind::Interrupted { generation: None });
        return ExitCode::from(process::INTERRUPTED);
    }
    let reason = sentence(error);
    tracing::error!(%reason, "the run failed");
    recorder.event(EventKind::Failed { reason });
    ExitCode::FAILURE
}
