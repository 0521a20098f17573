//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use evopressd::stop::{self, Stop};
use tokio::signal::unix::{SignalKind, signal};

/// Stops with the first signal. The second ends the process, and with it its workers.
pub(super) fn stop_on_signal(notice: &'static str) -> std::io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stopper, stop) = stop::channel();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping");
        if !notice.is_empty() {
            eprintln!("{notice}");
        }
        stopper.stop();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!("second signal: the process ends at once");
        std::process::exit(130);
    });
    Ok(stop)
}
