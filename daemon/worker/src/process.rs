//! This process among others: its log, its parent, its signals, its lock, its memory.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing_subscriber::EnvFilter;

/// Exit code of a worker that was asked to stop: run it again to continue.
pub(crate) const INTERRUPTED: u8 = 75;

/// Sends the log to stderr, which the daemon keeps as `worker.log`.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("EVOPRESS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

/// Asks the kernel for SIGTERM when the parent dies, so that a killed daemon leaves no worker.
pub(crate) fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: sets an attribute of this process only.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
    }
}

/// A flag that SIGTERM and SIGINT set; a second signal ends the process at once.
pub(crate) fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            INTERRUPTED.into(),
            Arc::clone(&stop),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Creates the lock file of a run and holds it while the file that comes back is open. `run` is the
/// run's folder.
///
/// # Errors
/// Another worker holds it.
pub(crate) fn lock(path: &Path, run: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        bail!("{}: another worker is on this run", run.display());
    }
    Ok(file)
}

/// Largest resident set of this process so far, in bytes.
pub(crate) fn peak_memory_bytes() -> u64 {
    // SAFETY: `rusage` is plain numbers, and `getrusage` fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}

/// The machine in words: the CPU's name, its cores, and the GPU or the threads that compute.
pub(crate) fn hardware(device: tch::Device, threads: usize) -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let host = format!("{name}, {cores} cores");
    match device {
        tch::Device::Cuda(index) => format!("CUDA device {index}; {host}"),
        _ => format!("{host}, {threads} compute threads"),
    }
}
