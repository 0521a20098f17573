//! One run: its stages in order. A stage that an earlier attempt has finished is not done again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use evopress::device;
use evopress_spec::{EventKind, RunDir, Status};

use crate::artifact_layout::ArtifactLayout;
use crate::checkpoint::Checkpoint;
use crate::cli::RunOptions;
use crate::prepare::prepare;
use crate::recorder::Recorder;
use crate::stages::{database, evaluate, load, report, search, stitch};

/// Runs the plan in `dir`. The last event is written when the artifacts and the report are on disk.
pub(crate) fn run(
    options: &RunOptions,
    dir: &RunDir,
    recorder: &Recorder,
    stop: Arc<AtomicBool>,
) -> Result<Status> {
    let prepared = prepare(options, dir, recorder, stop)?;
    let plan = &prepared.plan;
    let source = &prepared.source;
    let space = &prepared.space;
    let compute = &prepared.compute;
    let layout = &ArtifactLayout::new(dir.model(), plan);
    let checkpoint = &Checkpoint::open(dir.checkpoint(), prepared.manifest.identity().clone())?;
    let resumed = search::SearchProgress::load(checkpoint)?;
    recorder.event(EventKind::Started {
        attempt: options.attempt,
        device: format!("{:?}", compute.device).to_lowercase(),
        dtype: plan.model.dtype.to_string(),
        threads: compute.threads as u32,
        resumed_generation: resumed.as_ref().map(|search| search.state.generation),
    });
    for warning in &prepared.warnings {
        recorder.warn(warning.clone());
    }
    // A plugin that panics costs an attempt, so it is made when the attempt has been recorded.
    let fitness = &prepared.fitness.make()?;
    let databases = database::run(&database::Inputs {
        text: &plan.database,
        dtype: plan.model.dtype,
        source,
        methods: &prepared.methods,
        space,
        digests: &prepared.digests,
        cache: &prepared.cache,
        compute,
        recorder,
    })?;
    device::trim_heap();
    let engine = load::run(plan, source, &databases.open, compute, recorder)?;
    let searched = search::run(
        &search::Inputs {
            plan,
            source,
            space,
            fitness,
            databases: &databases,
            engine: &engine,
            checkpoint,
            recorder,
            residual_cache_bytes: compute.shares.residual_cache,
        },
        resumed,
    )?;
    let genotype = &searched.progress.state.parent;
    // What is written and verified takes their place in memory.
    engine.release_weights();
    device::trim_heap();
    stitch::run(&stitch::Inputs {
        source,
        space,
        databases: &databases.open,
        genotype,
        kind: compute.kind,
        layout,
        recorder,
    })?;
    device::trim_heap();
    let quality = evaluate::run(
        &evaluate::Inputs {
            sets: &plan.evaluation,
            source,
            space,
            databases: &databases.open,
            baselines: &searched.baselines,
            genotype,
            layout,
            compute,
            recorder,
        },
        engine,
    )?;
    let known = prepared.cache.digests();
    prepared.digests.check_unchanged(&known)?;
    report::run(
        &report::Inputs {
            dir,
            plan,
            spec_digest: prepared.manifest.spec_digest(),
            hardware: prepared.manifest.hardware(),
            source,
            sequences: &prepared.sequences,
            space,
            layout,
            searched: &searched,
            recorder,
        },
        databases.results,
        quality,
    )
}
