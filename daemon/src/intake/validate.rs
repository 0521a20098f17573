//! Everything that can be wrong with a spec, found before it runs: first here, then by the worker,
//! which knows the plugins.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use evopress_spec::{MAX_SPEC_BYTES, Mistake, Plan, Roots, Wrong, examine_bytes};

use crate::worker_process::{CheckReply, Pointed, Worker};

/// A spec without mistakes.
#[derive(Debug)]
pub struct Checked {
    /// The resolved pipeline.
    pub plan: Plan,
    /// What the worker says of it.
    pub reply: CheckReply,
    /// What its user should know.
    pub warnings: Vec<Mistake>,
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
    let plan = plan_of(path, text, worker).await?;
    let reply = by_worker(path, text, &plan, worker).await?;
    Ok(Checked {
        warnings: placed(path, text, &reply.warnings),
        plan,
        reply,
    })
}

/// The plan of a spec. Where the spec has mistakes, the worker looks at what is left of it too, so
/// that an unknown plugin beside a missing model is told at once.
pub(super) async fn plan_of(
    path: &Path,
    text: &[u8],
    worker: &Worker,
) -> Result<Plan, Vec<Mistake>> {
    let wrong = match offline(path, text, &worker.tools().data_roots) {
        Ok(plan) => return Ok(plan),
        Err(wrong) => wrong,
    };
    let mut mistakes = wrong.mistakes;
    if let Some(plan) = wrong.plan.filter(|_| wrong.unsure.len() <= MAX_UNSURE) {
        match worker.check(&plan, &wrong.unsure).await {
            Ok(reply) => mistakes.extend(placed(path, text, &reply.mistakes)),
            Err(error) => mistakes.push(mistake_at(path, text, "", &error.to_string())),
        }
    }
    mistakes.sort_by_key(|it| (it.line, it.column));
    mistakes.dedup();
    Err(mistakes)
}

/// A spec with more mistakes than this is hardly one; the worker is not asked about it.
const MAX_UNSURE: usize = 200;

pub(super) fn offline(path: &Path, text: &[u8], data_roots: &[PathBuf]) -> Result<Plan, Wrong> {
    let spec_dir = path
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    examine_bytes(
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
    match worker.check(plan, &[]).await {
        Ok(reply) if reply.mistakes.is_empty() => Ok(reply),
        Ok(reply) => Err(placed(path, text, &reply.mistakes)),
        Err(error) => Err(vec![mistake_at(path, text, "", &error.to_string())]),
    }
}

/// What the worker says, at its places in the text.
pub(super) fn placed(path: &Path, text: &[u8], pointed: &[Pointed]) -> Vec<Mistake> {
    let pointed = pointed.iter();
    pointed
        .map(|it| mistake_at(path, text, &it.pointer, &it.message))
        .collect()
}

pub(super) fn mistake_at(path: &Path, text: &[u8], pointer: &str, message: &str) -> Mistake {
    evopress_spec::mistake_at(
        &String::from_utf8_lossy(text),
        &path.display().to_string(),
        pointer,
        message,
    )
}
