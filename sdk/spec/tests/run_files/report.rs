//! Reports.

use evopress_spec::{
    Achieved, BaselineResult, DatabaseResult, GateResult, HistoryEntry, Metric, MetricResult, Mode,
    Published, Report, SearchResult, SequenceStart, Stage, Status, WrittenArtifact,
};
use serde_json::json;

#[test]
fn a_report_comes_back_from_its_file() {
    let genotype = || {
        [("model.layers.1.mlp".to_owned(), "drop".to_owned())]
            .into_iter()
            .collect()
    };
    let report = Report {
        run: "small-0123456789ab".into(),
        name: "small".into(),
        status: Status::GateFailed,
        reason: Some("perplexity".into()),
        spec_digest: "ab".into(),
        target: json!({"drop": 0.25}),
        delivered: None,
        achieved: Achieved {
            measure: "drop".into(),
            value: 0.2333,
            parameters: 1,
            dense_parameters: 2,
            size_bytes: 3,
            packed_bytes: 2,
            dense_size_bytes: 4,
        },
        genotype: genotype(),
        databases: vec![DatabaseResult {
            method: "gptq".into(),
            key: "01".into(),
            bytes: 9,
            build_seconds: 1.5,
            reused: true,
            tokens: 8192,
            experts_without_tokens: 0,
        }],
        experts: Vec::new(),
        sequences: vec![
            SequenceStart {
                text: "calibration".into(),
                bos: true,
                said_by: "tokenizer.json".into(),
            },
            SequenceStart {
                text: "held-out".into(),
                bos: false,
                said_by: "evaluation[0].bos".into(),
            },
        ],
        search: SearchResult {
            mode: Mode::Paper,
            generations: 1,
            forward_tokens: 2,
            seconds: 3.0,
            switch_seconds: 0.25,
            best_fitness: 0.5,
            ended: None,
            history: vec![HistoryEntry {
                generation: 1,
                best_fitness: 0.5,
                forward_tokens: 2,
                seconds: 3.0,
                held_out: Some(0.75),
            }],
        },
        evaluation: vec![MetricResult {
            set: "held-out".into(),
            metric: Metric::KlDivergence,
            dense: 0.0,
            compressed: 0.5,
            baselines: [("window".to_owned(), 0.75)].into_iter().collect(),
            tokens: 1024,
        }],
        baselines: vec![BaselineResult {
            name: "window".into(),
            genotype: genotype(),
            parameters: 1,
            achieved: 0.25,
            packed_bytes: 2,
        }],
        beaten_by: vec!["window".into()],
        gates: vec![GateResult {
            set: "held-out".into(),
            limit: "max_kl 0.1".into(),
            value: 0.5,
            passed: false,
        }],
        artifacts: vec![WrittenArtifact {
            path: "/model".into(),
            format: "huggingface".into(),
            bytes: 3,
            digest: "cd".into(),
        }],
        unpublished: Vec::new(),
        published: vec![Published {
            registry: "folder".into(),
            location: "/registry/small/1".into(),
            version: "1".into(),
            digest: "ef".into(),
        }],
        timings: [(Stage::Load, 0.5), (Stage::Search, 3.0)].into(),
        peak_memory_bytes: 1 << 30,
        hardware: "2 cores".into(),
        warnings: vec![],
    };
    let written = serde_json::to_value(&report).unwrap();
    assert_eq!(written["status"], "gate_failed");
    assert_eq!(written["timings"]["search"], 3.0);
    assert_eq!(written["evaluation"][0]["metric"], "kl_divergence");
    assert_eq!(serde_json::from_value::<Report>(written).unwrap(), report);
}
