//! Stands in for evopress-worker in tests of the daemon: it has the command line and writes the
//! files of a worker, and does no work. How it behaves is the label `fake` of the pipeline: see
//! [`Behaviour`].

#![allow(
    clippy::unwrap_used,
    reason = "a panic here fails the test that started it"
)]

mod behaviour;
mod check;
mod report;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use behaviour::Behaviour;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run {
        run_dir: PathBuf,
        #[arg(long)]
        cache: PathBuf,
        #[arg(long)]
        attempt: u32,
        #[command(flatten)]
        resources: Resources,
        #[arg(long)]
        plugins: PathBuf,
    },
    Check {
        plan: PathBuf,
        #[arg(long)]
        plugins: PathBuf,
        #[arg(long)]
        cache: Option<PathBuf>,
        #[arg(long)]
        unsure: Vec<String>,
        #[command(flatten)]
        resources: Resources,
    },
    Plugins {
        #[arg(long)]
        plugins: PathBuf,
    },
}

/// What a run may take of the machine.
#[derive(Args)]
struct Resources {
    #[arg(long)]
    threads: Option<u32>,
    #[arg(long)]
    memory: Option<u64>,
    #[arg(long)]
    device_memory: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run {
            run_dir, attempt, ..
        } => return run::run(&run_dir, attempt).await,
        Command::Check { plan, .. } => check::check(Behaviour::of_plan(&plan)),
        Command::Plugins { .. } => list_plugins(),
    }
    ExitCode::SUCCESS
}

/// A method plugin, and a file that is none.
fn list_plugins() {
    let listed = json!([
        {
            "file": "libevopress_drop.so", "sha256": "00", "name": "drop", "kind": "method",
            "version": "0.1.0", "description": "drops sub-blocks", "options_schema": {}, "error": null,
        },
        {"file": "libevopress_bad.so", "sha256": "00", "error": "it is not a shared library"},
    ]);
    println!("{listed}");
}

/// Ends this process as a fault in native code does. Rust's own handler swallows the first signal.
fn die_of_segmentation_fault() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    loop {
        kill_process(getpid(), Signal::SEGV).unwrap();
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}
