//! The life of the process: arguments, telemetry, the command, the exit code.

mod cli;
mod commands;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::commands::{Exit, Usage};

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::start(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return complain(&anyhow::Error::new(error).context("cannot start the runtime"));
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(flags) => commands::serve(flags).await,
            Command::Run(flags) => commands::run(flags).await,
            Command::Validate(flags) => commands::validate(flags).await,
            Command::Plugins(flags) => commands::plugins(flags).await,
            Command::Schema => commands::schema(),
            Command::Follow(flags) => commands::follow(flags).await,
            Command::Publish(flags) => commands::publish(flags).await,
            Command::Cache(command) => commands::cache(command),
        }
    });
    // What still blocks (a copy to a registry) is taken up after the next start.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(error) => complain(&error),
    }
}

fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("evopressd: {error:#}");
    if error.is::<Usage>() {
        Exit::Usage.into()
    } else {
        Exit::Failed.into()
    }
}
