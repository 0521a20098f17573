//! Everything that can be wrong with a spec, found before it runs: first here, then by the worker,
//! which knows the plugins.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use evopress_spec::{MAX_SPEC_BYTES, Mistake, Plan, Roots, check_bytes};

use crate::worker_process::{CheckReply, Worker};

/// A spec without mistakes.
#[derive(Debug)]
pub struct Checked {
    /// The resolved pipeline.
    pub plan: Plan,
    /// What the worker says of it.
    pub reply: CheckReply,
}

/// Reads a spec's bytes; of a file that is too large, just enough to be refused.
///
/// # Errors
/// The file cannot be read.
pub fn read_spec(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_SPEC_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks a spec without running it.
///
/// # Errors
/// All its mistakes.
pub async fn validate(path: &Path, text: &[u8], worker: &Worker) -> Result<Checked, Vec<Mistake>> {
    let plan = offline(path, text, &worker.tools().data_roots)?;
    let reply = by_worker(path, text, &plan, worker).await?;
    Ok(Checked { plan, reply })
}

pub(super) fn offline(
    path: &Path,
    text: &[u8],
    data_roots: &[PathBuf],
) -> Result<Plan, Vec<Mistake>> {
    let spec_dir = path
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    check_bytes(
        text,
        &path.display().to_string(),
        &Roots {
            spec_dir,
            data_roots: data_roots.to_vec(),
        },
    )
}

/// The worker's answer. If the worker crashes or hangs while it checks a spec, this counts as a
/// mistake of the spec.
pub(super) async fn by_worker(
    path: &Path,
    text: &[u8],
    plan: &Plan,
    worker: &Worker,
) -> Result<CheckReply, Vec<Mistake>> {
    match worker.check(plan).await {
        Ok(reply) if reply.mistakes.is_empty() => Ok(reply),
        Ok(reply) => {
            let placed = |it: &crate::worker_process::Pointed| {
                mistake_at(path, text, &it.pointer, &it.message)
            };
            Err(reply.mistakes.iter().map(placed).collect())
        }
        Err(error) => Err(vec![mistake_at(path, text, "", &error.to_string())]),
    }
}

pub(super) fn mistake_at(path: &Path, text: &[u8], pointer: &str, message: &str) -> Mistake {
    evopress_spec::mistake_at(
        &String::from_utf8_lossy(text),
        &path.display().to_string(),
        pointer,
        message,
    )
}
