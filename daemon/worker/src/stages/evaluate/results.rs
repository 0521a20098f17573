//! What the measurements come to: metrics, gates, and the baselines that are better.

use evopress::evaluate::{Quality, Reference};
use evopress_spec::{Evaluation, GateResult, Metric, MetricResult};
use indexmap::IndexMap;

/// The dense model and the baselines on one evaluation set.
pub(super) struct Measured {
    pub(super) reference: Reference,
    pub(super) num_sequences: usize,
    /// By name.
    pub(super) baselines: Vec<(String, Quality)>,
}

/// What the report says of quality.
#[derive(Default)]
pub(crate) struct Outcome {
    /// By set and metric.
    pub(crate) metrics: Vec<MetricResult>,
    pub(crate) gates: Vec<GateResult>,
    /// Names of the baselines with a lower perplexity on the first set.
    pub(crate) beaten_by: Vec<String>,
}

impl Outcome {
    /// Adds what was found on one more set. `quality` is the artifact's.
    pub(super) fn add(&mut self, set: &Evaluation, measured: &Measured, quality: Quality) {
        if self.metrics.is_empty() {
            let baselines = measured.baselines.iter();
            let better = baselines.filter(|(_, it)| it.perplexity < quality.perplexity);
            self.beaten_by = better.map(|(name, _)| name.clone()).collect();
        }
        self.metrics.extend(metrics(set, measured, quality));
        let dense_perplexity = measured.reference.perplexity;
        self.gates.extend(gates(set, dense_perplexity, quality));
    }
}

fn metrics(set: &Evaluation, measured: &Measured, quality: Quality) -> [MetricResult; 2] {
    let of_baselines = |value: fn(&Quality) -> f64| -> IndexMap<String, f64> {
        measured
            .baselines
            .iter()
            .map(|(name, quality)| (name.clone(), value(quality)))
            .collect()
    };
    let tokens = measured.reference.num_tokens();
    [
        MetricResult {
            set: set.name.clone(),
            metric: Metric::Perplexity,
            dense: measured.reference.perplexity,
            compressed: quality.perplexity,
            baselines: of_baselines(|quality| quality.perplexity),
            tokens,
        },
        MetricResult {
            set: set.name.clone(),
            metric: Metric::KlDivergence,
            dense: 0.0,
            compressed: quality.kl_divergence,
            baselines: of_baselines(|quality| quality.kl_divergence),
            tokens,
        },
    ]
}

fn gates(set: &Evaluation, dense_perplexity: f64, quality: Quality) -> Vec<GateResult> {
    let gate = &set.gate;
    let ratio = quality.perplexity / dense_perplexity;
    let limits = [
        ("max_perplexity_ratio", gate.max_perplexity_ratio, ratio),
        ("max_perplexity", gate.max_perplexity, quality.perplexity),
        ("max_kl", gate.max_kl, quality.kl_divergence),
    ];
    let results = limits.into_iter().filter_map(|(name, limit, value)| {
        let limit = limit?;
        Some(GateResult {
            set: set.name.clone(),
            limit: format!("{name} ≤ {limit}"),
            value,
            passed: value <= limit,
        })
    });
    results.collect()
}
