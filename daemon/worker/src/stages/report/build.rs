//! `report.json` from what the stages have found.

use anyhow::Result;
use evopress::export;
use evopress::genotype::Genotype;
use evopress_spec::{
    Achieved, BaselineResult, DatabaseResult, ExpertResult, GateResult, Report, SearchResult,
    Status,
};
use indexmap::IndexMap;

use super::inputs::Inputs;
use super::written;
use crate::stages::evaluate::Outcome;
use crate::{process, setup};

/// The report without its artifacts: the model card, which is one of their files, is made from it.
pub(super) fn build(
    inputs: &Inputs<'_>,
    databases: Vec<DatabaseResult>,
    outcome: Outcome,
) -> Result<Report> {
    let plan = inputs.plan;
    let failed_gate = outcome.gates.iter().find(|gate| !gate.passed);
    Ok(Report {
        run: inputs.dir.id(),
        name: plan.name.clone(),
        status: failed_gate.map_or(Status::Done, |_| Status::GateFailed),
        reason: failed_gate.map(failure),
        spec_digest: inputs.spec_digest.to_owned(),
        target: serde_json::to_value(plan.target)?,
        delivered: setup::delivered(inputs.source)?,
        achieved: achieved(inputs)?,
        genotype: levels(inputs, &inputs.searched.progress.state.parent),
        databases,
        experts: experts(inputs),
        sequences: inputs.sequences.to_vec(),
        search: search(inputs),
        evaluation: outcome.metrics,
        baselines: baselines(inputs),
        beaten_by: outcome.beaten_by,
        gates: outcome.gates,
        artifacts: Vec::new(),
        published: Vec::new(),
        unpublished: Vec::new(),
        timings: inputs.recorder.timings(),
        peak_memory_bytes: process::peak_memory_bytes(),
        hardware: inputs.hardware.to_owned(),
        warnings: inputs.recorder.warnings(),
    })
}

fn failure(gate: &GateResult) -> String {
    format!(
        "quality gate `{}` of set `{}` failed: {:.4}",
        gate.limit, gate.set, gate.value
    )
}

fn achieved(inputs: &Inputs<'_>) -> Result<Achieved> {
    let genotype = &inputs.searched.progress.state.parent;
    let dense_parameters = inputs.source.num_parameters();
    let bytes_per_weight = setup::bytes_per_weight(inputs.plan.model.dtype);
    Ok(Achieved {
        measure: inputs.plan.target.measure().to_owned(),
        value: inputs.space.achieved(genotype),
        parameters: num_parameters(inputs, genotype),
        dense_parameters,
        size_bytes: written::weight_bytes(inputs.layout)?,
        packed_bytes: inputs.space.size_bytes(genotype),
        dense_size_bytes: dense_parameters * u64::from(bytes_per_weight),
    })
}

fn experts(inputs: &Inputs<'_>) -> Vec<ExpertResult> {
    let experts = inputs.searched.experts.iter();
    let results = experts.map(|expert| ExpertResult {
        block: expert.block_idx,
        expert: expert.expert,
        tokens: expert.tokens,
        mean_gate: expert.mean_gate,
        saliency: expert.saliency,
    });
    results.collect()
}

fn search(inputs: &Inputs<'_>) -> SearchResult {
    let progress = &inputs.searched.progress;
    SearchResult {
        mode: inputs.plan.search.mode,
        generations: progress.state.generation,
        forward_tokens: progress.forward_tokens,
        seconds: progress.seconds,
        switch_seconds: progress.switch_seconds,
        best_fitness: progress.state.fitness,
        ended: progress.ended(),
        history: progress.history.clone(),
    }
}

fn baselines(inputs: &Inputs<'_>) -> Vec<BaselineResult> {
    let baselines = inputs.searched.baselines.iter();
    let results = baselines.map(|baseline| BaselineResult {
        name: baseline.name.clone(),
        genotype: levels(inputs, &baseline.genotype),
        parameters: num_parameters(inputs, &baseline.genotype),
        achieved: inputs.space.achieved(&baseline.genotype),
        packed_bytes: inputs.space.size_bytes(&baseline.genotype),
    });
    results.collect()
}

fn num_parameters(inputs: &Inputs<'_>, genotype: &Genotype) -> u64 {
    let candidate = inputs.space.candidate(genotype);
    export::num_parameters(inputs.source, inputs.space, &candidate)
}

fn levels(inputs: &Inputs<'_>, genotype: &Genotype) -> IndexMap<String, String> {
    inputs.space.describe(genotype).into_iter().collect()
}
