//! The two columns of the final table that say how small a model is: what is left of it where parts are left out; what it
//! reaches in the target's measure, and its packed size, where its weights are written down shorter.

use evopress_spec::{Achieved, Report};

use super::table::{as_f64, grouped, megabytes};

/// Which two columns a report has.
#[derive(Clone, Copy)]
pub(super) enum Columns {
    /// Parameters, and the size as written.
    Parameters,
    /// The target's measure, and the size as a database packs it.
    Packed(Measure),
}

#[derive(Clone, Copy)]
pub(super) enum Measure {
    Sparsity,
    BitsPerWeight,
    Compression,
}

/// A number with so many digits; a dash for none.
pub(super) fn number(value: Option<f64>, digits: usize) -> String {
    value
        .filter(|it| it.is_finite())
        .map_or_else(|| "-".to_owned(), |it| format!("{it:.digits$}"))
}

impl Columns {
    pub(super) fn of(report: &Report) -> Self {
        match report.achieved.measure.as_str() {
            _ if report.achieved.packed_bytes == 0 => Self::Parameters,
            "sparsity" => Self::Packed(Measure::Sparsity),
            "bits_per_weight" => Self::Packed(Measure::BitsPerWeight),
            // A size in bytes is what the last column says.
            "compression" | "size_bytes" => Self::Packed(Measure::Compression),
            _ => Self::Parameters,
        }
    }

    pub(super) fn heads(self) -> [&'static str; 2] {
        match self {
            Self::Parameters => ["parameters", "size"],
            Self::Packed(Measure::Sparsity) => ["sparsity", "packed size"],
            Self::Packed(Measure::BitsPerWeight) => ["bits a weight", "packed size"],
            Self::Packed(Measure::Compression) => ["compression", "packed size"],
        }
    }

    pub(super) fn dense(self, achieved: &Achieved) -> [String; 2] {
        let bits =
            as_f64(achieved.dense_size_bytes) * 8.0 / as_f64(achieved.dense_parameters.max(1));
        let size = megabytes(achieved.dense_size_bytes);
        match self {
            Self::Parameters => [grouped(achieved.dense_parameters), size],
            Self::Packed(Measure::Sparsity) => [number(Some(0.0), 4), size],
            Self::Packed(Measure::BitsPerWeight) => [number(Some(bits), 2), size],
            Self::Packed(Measure::Compression) => [number(Some(1.0), 2), size],
        }
    }

    pub(super) fn ours(self, achieved: &Achieved) -> [String; 2] {
        match self {
            Self::Parameters => [grouped(achieved.parameters), megabytes(achieved.size_bytes)],
            Self::Packed(measure) => measure.row(achieved, achieved.value, achieved.packed_bytes),
        }
    }

    pub(super) fn baseline(self, report: &Report, name: &str) -> [String; 2] {
        let achieved = &report.achieved;
        let found = report.baselines.iter().find(|it| it.name == name);
        match self {
            Self::Parameters => {
                let parameters = found.map_or(achieved.parameters, |it| it.parameters);
                [
                    grouped(parameters),
                    megabytes(written(parameters, achieved)),
                ]
            }
            Self::Packed(measure) => {
                let (value, bytes) =
                    found.map_or((f64::NAN, 0), |it| (it.achieved, it.packed_bytes));
                measure.row(achieved, value, bytes)
            }
        }
    }
}

impl Measure {
    fn row(self, achieved: &Achieved, value: f64, packed_bytes: u64) -> [String; 2] {
        let much = match self {
            Self::Sparsity => number(Some(value), 4),
            Self::BitsPerWeight => number(Some(value), 2),
            Self::Compression => number(
                Some(as_f64(achieved.dense_size_bytes) / as_f64(packed_bytes)),
                2,
            ),
        };
        let size = if packed_bytes == 0 {
            "-".to_owned()
        } else {
            megabytes(packed_bytes)
        };
        [much, size]
    }
}

/// A baseline is not written; its size follows from its parameters.
fn written(parameters: u64, achieved: &Achieved) -> u64 {
    let removed = achieved.dense_parameters.saturating_sub(parameters);
    let bytes_each = achieved
        .dense_size_bytes
        .checked_div(achieved.dense_parameters)
        .unwrap_or(0);
    achieved
        .dense_size_bytes
        .saturating_sub(removed * bytes_each)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::progress::final_table;

    /// The table of a report of 100 parameters a byte each, with one baseline.
    fn table(achieved: &Value, target: &Value, baseline: &Value) -> String {
        let result = |metric: &str, dense: f64, ours: f64| {
            json!({
                "set": "held-out", "metric": metric, "dense": dense, "compressed": ours,
                "baselines": {"uniform": ours * 1.5}, "tokens": 1024,
            })
        };
        let report: Report = serde_json::from_value(json!({
            "run": "tiny-0a", "name": "tiny", "status": "done", "reason": null, "spec_digest": "00",
            "target": target, "achieved": achieved, "genotype": {},
            "search": {"mode": "paper", "generations": 5, "forward_tokens": 1, "seconds": 1.0, "best_fitness": 0.5, "history": []},
            "evaluation": [result("perplexity", 35.5, 62.25), result("kl_divergence", 0.0, 0.5)],
            "baselines": [baseline], "beaten_by": [], "gates": [], "artifacts": [], "published": [],
            "timings": {}, "peak_memory_bytes": 0, "hardware": "", "warnings": [],
        }))
        .unwrap();
        let text = final_table(&report, Path::new("/run"), None);
        text.lines().skip(1).take(7).collect::<Vec<_>>().join("\n")
    }

    fn achieved(measure: &str, value: f64) -> Value {
        json!({
            "measure": measure, "value": value, "parameters": 134_515_008, "dense_parameters": 134_515_008,
            "size_bytes": 269_030_016, "dense_size_bytes": 269_030_016, "packed_bytes": 70_250_000,
        })
    }

    #[test]
    fn bits_are_shown_with_the_packed_size() {
        let baseline = json!({"name": "uniform", "genotype": {}, "parameters": 134_515_008, "achieved": 3.0, "packed_bytes": 70_000_000});
        insta::assert_snapshot!(table(&achieved("bits_per_weight", 2.996), &json!({"bits_per_weight": 3.0}), &baseline), @r#"
bits_per_weight: 2.9960 reached, 3.0 sought

on held-out:
                           perplexity   KL divergence   bits a weight   packed size
  dense                         35.50          0.0000           16.00      269.0 MB
  best baseline (uniform)       93.38          0.7500            3.00       70.0 MB
  EvoPress                      62.25          0.5000            3.00       70.2 MB
"#);
    }

    #[test]
    fn a_size_is_shown_as_one() {
        let baseline = json!({"name": "uniform", "genotype": {}, "parameters": 134_515_008, "achieved": null, "packed_bytes": 0});
        insta::assert_snapshot!(table(&achieved("size_bytes", 70_250_000.0), &json!({"size_bytes": 71_000_000}), &baseline), @r#"
size_bytes: 70.2 MB reached, 71.0 MB sought

on held-out:
                           perplexity   KL divergence   compression   packed size
  dense                         35.50          0.0000          1.00      269.0 MB
  best baseline (uniform)       93.38          0.7500             -             -
  EvoPress                      62.25          0.5000          3.83       70.2 MB
"#);
    }

    #[test]
    fn sparsity_is_shown_and_a_report_of_before_is_read() {
        let baseline = json!({"name": "uniform", "genotype": {}, "parameters": 134_515_008});
        insta::assert_snapshot!(table(&achieved("sparsity", 0.5), &json!({"sparsity": 0.5}), &baseline), @r#"
sparsity: 0.5000 reached, 0.5 sought

on held-out:
                           perplexity   KL divergence   sparsity   packed size
  dense                         35.50          0.0000     0.0000      269.0 MB
  best baseline (uniform)       93.38          0.7500          -             -
  EvoPress                      62.25          0.5000     0.5000       70.2 MB
"#);
    }
}
