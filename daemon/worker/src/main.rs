//! `evopress-worker`: one run of one pipeline, in a process of its own.
//!
//! The daemon never loads a plugin and never touches libtorch; this program does. It reads `plan.json`, appends to
//! `events.jsonl`, keeps a checkpoint, and leaves the artifact and the report in the run's folder. It publishes nothing.

mod artifact;
mod card;
mod check;
mod checkpoint;
mod cli;
mod database;
mod estimate;
mod find;
mod levels;
mod loading;
mod manifest;
mod plugins;
mod process;
mod quality;
mod recorder;
mod report;
mod report_html;
mod run;
mod setup;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    evopress::device::tune_allocator();
    let cli = Cli::parse();
    process::log_to_stderr();
    match cli.command {
        Command::Run(options) => run::main(&options),
        Command::Check(options) => cli::print_json(check::check(&options)),
        Command::Plugins(options) => cli::print_json(plugins::list(&options.plugins)),
    }
}
