//! `report.json` from what the stages found.

use anyhow::Result;
use evopress::baselines::Baseline;
use evopress::export;
use evopress::genotype::Genotype;
use evopress_spec::{Achieved, BaselineResult, DatabaseResult, Report, SearchResult, Status};
use indexmap::IndexMap;

use crate::run::Run;
use crate::{artifact, checkpoint, process, quality, setup};

/// The report without its artifacts, which come last because the model card is one of their files.
pub(crate) fn build(
    run: &Run,
    databases: Vec<DatabaseResult>,
    baselines: &[Baseline],
    found: &checkpoint::Search,
    outcome: quality::Outcome,
) -> Result<Report> {
    let genotype = &found.state.parent;
    let passed = outcome.gates.iter().all(|gate| gate.passed);
    let failed_gate = outcome.gates.iter().find(|gate| !gate.passed);
    Ok(Report {
        run: run.dir.id(),
        name: run.plan.name.clone(),
        status: if passed {
            Status::Done
        } else {
            Status::GateFailed
        },
        reason: failed_gate.map(|gate| {
            format!(
                "quality gate `{}` of set `{}` failed: {:.4}",
                gate.limit, gate.set, gate.value
            )
        }),
        spec_digest: run.manifest.spec_digest().to_owned(),
        target: serde_json::to_value(run.plan.target)?,
        achieved: achieved(run, genotype)?,
        genotype: levels(run, genotype),
        databases,
        search: SearchResult {
            mode: run.plan.search.mode,
            generations: found.state.generation,
            forward_tokens: found.forward_tokens,
            seconds: found.seconds,
            switch_seconds: found.switch_seconds,
            best_fitness: found.state.fitness,
            ended: found
                .memory
                .as_ref()
                .and_then(|memory| memory.stop)
                .map(|stop| stop.to_string()),
            history: found.history.clone(),
        },
        evaluation: outcome.metrics,
        baselines: baselines
            .iter()
            .map(|baseline| BaselineResult {
                name: baseline.name.clone(),
                genotype: levels(run, &baseline.genotype),
                parameters: num_parameters(run, &baseline.genotype),
                achieved: run.space.achieved(&baseline.genotype),
                packed_bytes: run.space.size_bytes(&baseline.genotype),
            })
            .collect(),
        beaten_by: outcome.beaten_by,
        gates: outcome.gates,
        artifacts: Vec::new(),
        published: Vec::new(),
        unpublished: Vec::new(),
        timings: run.recorder.timings(),
        peak_memory_bytes: process::peak_memory_bytes(),
        hardware: process::hardware(run.device, run.threads),
        warnings: run.recorder.warnings(),
    })
}

fn achieved(run: &Run, genotype: &Genotype) -> Result<Achieved> {
    let dense_parameters = run.source.num_parameters();
    Ok(Achieved {
        measure: run.plan.target.measure().to_owned(),
        value: run.space.achieved(genotype),
        parameters: num_parameters(run, genotype),
        dense_parameters,
        size_bytes: artifact::weight_bytes(run)?,
        packed_bytes: run.space.size_bytes(genotype),
        dense_size_bytes: dense_parameters
            * u64::from(setup::bytes_per_weight(run.plan.model.dtype)),
    })
}

fn num_parameters(run: &Run, genotype: &Genotype) -> u64 {
    export::num_parameters(&run.source, &run.space, &run.space.candidate(genotype))
}

fn levels(run: &Run, genotype: &Genotype) -> IndexMap<String, String> {
    run.space.describe(genotype).into_iter().collect()
}
