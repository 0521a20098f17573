//! The report of a run that never was.

use evopress_spec::{
    Achieved, BaselineResult, GateResult, Metric, MetricResult, Mode, Report, RunDir, SearchResult,
    Stage, Status, WrittenArtifact,
};
use serde_json::json;

pub(crate) fn report(dir: &RunDir, status: Status) -> Report {
    let names = |entries: &[(&str, &str)]| {
        let owned = entries.iter();
        owned
            .map(|(name, level)| ((*name).to_owned(), (*level).to_owned()))
            .collect()
    };
    Report {
        run: dir.id(),
        name: "tiny".to_owned(),
        status,
        reason: None,
        spec_digest: "00".to_owned(),
        target: json!({"drop": 0.25}),
        delivered: None,
        achieved: Achieved {
            measure: "drop".to_owned(),
            value: 0.2333,
            parameters: 106_000_000,
            dense_parameters: 134_515_008,
            size_bytes: 212_000_000,
            packed_bytes: 0,
            dense_size_bytes: 269_030_016,
        },
        genotype: names(&[
            ("model.layers.0.mlp", "keep"),
            ("model.layers.3.mlp", "drop"),
        ]),
        databases: Vec::new(),
        experts: Vec::new(),
        sequences: Vec::new(),
        search: SearchResult {
            mode: Mode::Paper,
            generations: 5,
            forward_tokens: 5000,
            seconds: 5.5,
            switch_seconds: 0.0,
            best_fitness: 0.55,
            ended: None,
            history: Vec::new(),
        },
        evaluation: vec![
            measured(Metric::Perplexity, 18.42, 33.1, 52.7, 41.25),
            measured(Metric::KlDivergence, 0.0, 0.55, 1.2, 0.8),
        ],
        baselines: vec![BaselineResult {
            name: "cosine window".to_owned(),
            genotype: names(&[]),
            parameters: 106_000_000,
            achieved: f64::NAN,
            packed_bytes: 0,
        }],
        beaten_by: Vec::new(),
        gates: vec![GateResult {
            set: "held-out".to_owned(),
            limit: "max_perplexity_ratio 3".to_owned(),
            value: 1.797,
            passed: status == Status::Done,
        }],
        artifacts: vec![WrittenArtifact {
            path: dir.model().display().to_string(),
            format: "huggingface".to_owned(),
            bytes: 3_000_025,
            digest: "00".to_owned(),
        }],
        published: Vec::new(),
        unpublished: Vec::new(),
        timings: [(Stage::Search, 5.5)].into(),
        peak_memory_bytes: 1_000_000,
        hardware: "a fake".to_owned(),
        warnings: Vec::new(),
    }
}

fn measured(
    metric: Metric,
    dense: f64,
    compressed: f64,
    shortgpt: f64,
    window: f64,
) -> MetricResult {
    let baselines = [("shortgpt", shortgpt), ("cosine window", window)];
    MetricResult {
        set: "held-out".to_owned(),
        metric,
        dense,
        compressed,
        baselines: baselines
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        tokens: 32_768,
    }
}
