//! The log on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, LogFormat};

/// Starts the log. The daemon says what happens; a one-shot command only what is wrong, since it
/// shows progress otherwise. Hugging Face's Xet crates tell each request and each try; what comes
/// of them is told by who calls them.
pub(crate) fn start(cli: &Cli) {
    let usual = if matches!(cli.command, Command::Serve(_)) {
        "info,xet=off,client_telemetry=off"
    } else {
        "error,xet=off"
    };
    let filter = EnvFilter::try_from_env("EVOPRESS_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
