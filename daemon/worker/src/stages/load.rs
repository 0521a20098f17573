//! The model on its compute threads: dense weights in memory, levels in the databases.

use std::sync::Arc;

use anyhow::Result;
use evopress::levels::Database;
use evopress::model::Engine;
use evopress::source::Source;
use evopress_spec::{Plan, Stage};

use crate::compute::Compute;
use crate::recorder::Recorder;

/// Reads the model of `plan`. `databases` are those of its methods, in their order.
pub(crate) fn run(
    plan: &Plan,
    source: &Arc<Source>,
    databases: &[Arc<Database>],
    compute: &Compute,
    recorder: &Recorder,
) -> Result<Engine> {
    let num_blocks = source.spec().num_blocks() as u64;
    let sets = plan.evaluation.iter().map(|set| set.sequence_length);
    let lengths = sets.chain([plan.calibration.sequence_length]);
    let longest = lengths.max().unwrap_or(1);
    recorder.stage(Stage::Load, false, || {
        let model = compute.model(source, databases, compute.shares.weights)?;
        model.preload(|done| recorder.progress(Stage::Load, done as u64, num_blocks, "blocks"))?;
        compute.engine(model, longest as usize)
    })
}
