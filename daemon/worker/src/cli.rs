//! The command line: what the daemon calls.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use evopress_spec::Limits;
use serde::Serialize;

use crate::sentence::sentence;

/// One run of one evopressd pipeline. People use `evopressd`, which calls this.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the plan in a run's folder, or continue where an earlier attempt stopped.
    ///
    /// Exit codes: 0 done, 1 failed, 3 a quality gate failed, 75 interrupted (run again to
    /// continue).
    Run(RunOptions),
    /// Check what only plugins and the model can tell, and estimate what the run needs; JSON on
    /// stdout.
    Check(CheckOptions),
    /// List the plugins of a folder; JSON on stdout.
    Plugins(PluginsOptions),
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// The run's folder, with `plan.json`.
    pub(crate) run_dir: PathBuf,
    /// The folder of plugins.
    #[arg(long)]
    pub(crate) plugins: PathBuf,
    /// The folder of what runs share, such as level databases [default: `cache` beside the folder
    /// of the runs].
    #[arg(long)]
    cache: Option<PathBuf>,
    /// What the run may take of the machine.
    #[command(flatten)]
    pub(crate) resources: Resources,
    /// Which attempt at this run it is, counted from 1.
    #[arg(long, default_value_t = 1)]
    pub(crate) attempt: u32,
}

impl RunOptions {
    /// The cache folder: of a run in `STATE/runs/ID` it is `STATE/cache`.
    pub(crate) fn cache(&self) -> PathBuf {
        let beside_runs = || {
            let run_dir =
                std::path::absolute(&self.run_dir).unwrap_or_else(|_| self.run_dir.clone());
            let state = run_dir.ancestors().nth(2).unwrap_or(&run_dir);
            state.join("cache")
        };
        self.cache.clone().unwrap_or_else(beside_runs)
    }
}

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    /// The resolved pipeline.
    pub(crate) plan: PathBuf,
    /// The folder of plugins.
    #[arg(long)]
    pub(crate) plugins: PathBuf,
    /// The folder of what runs share: what is known there of large files is not read again.
    #[arg(long)]
    pub(crate) cache: Option<PathBuf>,
    /// JSON pointer to a value that stands in for a mistake of the spec; nothing is said about it.
    #[arg(long)]
    pub(crate) unsure: Vec<String>,
    /// What a run may take of the machine.
    #[command(flatten)]
    pub(crate) resources: Resources,
}

/// What a run may take of the machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct Resources {
    /// Compute threads [default: one per core; one on a GPU].
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Bytes of memory, unless the plan says less [default: what is free within the process's
    /// limits].
    #[arg(long)]
    memory: Option<u64>,
    /// Bytes of the GPU's memory, unless the plan says less [default: what is free].
    #[arg(long)]
    device_memory: Option<u64>,
}

impl Resources {
    /// Limits of the command line.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory,
            device_memory_bytes: self.device_memory,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PluginsOptions {
    /// The folder of plugins.
    #[arg(long)]
    pub(crate) plugins: PathBuf,
}

/// Prints a result as JSON on stdout, or an error on stderr.
pub(crate) fn print_json<T: Serialize>(result: anyhow::Result<T>) -> ExitCode {
    match result.and_then(|value| Ok(serde_json::to_string_pretty(&value)?)) {
        Ok(text) => {
            // Whoever reads may have seen enough.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_beside_the_runs_unless_given() {
        let cache_of = |more: &[&str]| {
            let arguments = [
                "evopress-worker",
                "run",
                "/state/runs/tiny-0a",
                "--plugins",
                "/plugins",
            ];
            let parsed = Cli::parse_from(arguments.iter().chain(more));
            let Command::Run(options) = parsed.command else {
                panic!("not a run");
            };
            options.cache()
        };
        assert_eq!(cache_of(&[]), PathBuf::from("/state/cache"));
        assert_eq!(
            cache_of(&["--cache", "/fast/disk"]),
            PathBuf::from("/fast/disk")
        );
    }
}
