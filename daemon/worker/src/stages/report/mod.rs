//! Report, page and model card. The run's last event comes when all of them are on disk.

mod build;
mod card;
mod inputs;
mod written;

use anyhow::Result;
use evopress_core::atomic_write;
use evopress_spec::{DatabaseResult, EventKind, Status};

use self::card::Loading;
use super::evaluate::Outcome;
use crate::report_html;

pub(crate) use inputs::Inputs;

/// Writes what is to be said of the run, and returns how it ended.
pub(crate) fn run(
    inputs: &Inputs<'_>,
    databases: Vec<DatabaseResult>,
    outcome: Outcome,
) -> Result<Status> {
    let (dir, recorder) = (inputs.dir, inputs.recorder);
    for name in &outcome.beaten_by {
        recorder.warn(format!(
            "baseline `{name}` has a lower perplexity on held-out text than the searched model: \
             search longer, start from the baselines (`search.initial.baselines: true`) or use more \
             calibration text"
        ));
    }
    let genotype = &inputs.searched.progress.state.parent;
    let loading = Loading::of(inputs.layout, inputs.source, inputs.space, genotype);
    for warning in loading.warnings() {
        recorder.warn(warning);
    }
    let mut report = build::build(inputs, databases, outcome)?;
    card::write(inputs.layout, inputs.source, &report, &loading)?;
    // The model card is one of an artifact's files.
    report.artifacts = written::describe(inputs.layout)?;
    atomic_write(&dir.report_html(), report_html::render(&report).as_bytes())?;
    atomic_write(&dir.report_json(), &serde_json::to_vec_pretty(&report)?)?;
    let status = report.status;
    recorder.event(EventKind::Finished { status });
    tracing::info!(%status, "finished");
    Ok(status)
}
