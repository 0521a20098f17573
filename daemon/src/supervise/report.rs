//! The report of a run that no worker could finish, and what a finished one says of its gates.

use std::io;

use evopress_core::{atomic_write, digest_bytes};
use evopress_spec::{Achieved, Plan, Report, RunDir, SearchResult, Status};

/// Writes `report.json` with the reason, or puts the reason into the one that the worker left.
pub(super) fn write_failure(run_dir: &RunDir, reason: &str) -> io::Result<()> {
    let mut report = match read(run_dir) {
        Ok(report) => report,
        Err(_) => empty(run_dir)?,
    };
    report.status = Status::Failed;
    report.reason = Some(reason.to_owned());
    atomic_write(&run_dir.report_json(), &serde_json::to_vec_pretty(&report)?)
}

/// `set held-out: perplexity 41.2 misses max_perplexity_ratio 3`, for each gate that was missed.
pub(super) fn missed_gates(run_dir: &RunDir) -> String {
    let report = match read(run_dir) {
        Ok(report) => report,
        Err(error) => {
            return format!(
                "the worker says that a quality gate was missed, and its report cannot be read: {error}"
            );
        }
    };
    let missed = report.gates.iter().filter(|gate| !gate.passed);
    let lines: Vec<_> = missed
        .map(|gate| format!("set {}: {} misses {}", gate.set, gate.value, gate.limit))
        .collect();
    if lines.is_empty() {
        "a quality gate was missed".to_owned()
    } else {
        lines.join("; ")
    }
}

fn read(run_dir: &RunDir) -> io::Result<Report> {
    Ok(serde_json::from_slice(&std::fs::read(
        run_dir.report_json(),
    )?)?)
}

fn empty(run_dir: &RunDir) -> io::Result<Report> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(run_dir.plan())?)?;
    let achieved = Achieved {
        measure: plan.target.measure().to_owned(),
        value: 0.0,
        parameters: 0,
        dense_parameters: 0,
        size_bytes: 0,
        packed_bytes: 0,
        dense_size_bytes: 0,
    };
    let search = SearchResult {
        mode: plan.search.mode,
        generations: 0,
        forward_tokens: 0,
        seconds: 0.0,
        switch_seconds: 0.0,
        best_fitness: f64::NAN,
        ended: None,
        history: Vec::new(),
    };
    Ok(Report {
        run: run_dir.id(),
        name: plan.name,
        status: Status::Failed,
        reason: None,
        spec_digest: digest_bytes(&std::fs::read(run_dir.spec())?),
        target: serde_json::to_value(plan.target)?,
        delivered: None,
        achieved,
        genotype: Default::default(),
        databases: Vec::new(),
        experts: Vec::new(),
        sequences: Vec::new(),
        search,
        evaluation: Vec::new(),
        baselines: Vec::new(),
        beaten_by: Vec::new(),
        gates: Vec::new(),
        artifacts: Vec::new(),
        published: Vec::new(),
        unpublished: Vec::new(),
        timings: Default::default(),
        peak_memory_bytes: 0,
        hardware: String::new(),
        warnings: Vec::new(),
    })
}
