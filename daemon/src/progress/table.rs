//! The last word of a run for people: what it cost in quality, what it saved, what the baselines
//! reach, where everything is.

use std::fmt::Write as _;
use std::path::Path;

use evopress_spec::{Metric, MetricResult, Report, Status};

use super::columns::Columns;
use super::format::{megabytes, megabytes_f64, number};

/// The table and the places, ready to print. `reason` is the journal's, where the report has none.
#[must_use]
pub fn final_table(report: &Report, run_dir: &Path, reason: Option<&str>) -> String {
    let mut text = String::new();
    headline(&mut text, report, reason);
    if let Some(first) = report.evaluation.first() {
        let of = |metric| {
            report
                .evaluation
                .iter()
                .find(|it| it.set == first.set && it.metric == metric)
        };
        quality(
            &mut text,
            report,
            &first.set,
            of(Metric::Perplexity),
            of(Metric::KlDivergence),
        );
    }
    for name in &report.beaten_by {
        line(
            &mut text,
            &format!("The baseline {name} is better than this result."),
        );
    }
    for gate in &report.gates {
        let verdict = if gate.passed { "passed" } else { "MISSED" };
        line(
            &mut text,
            &format!(
                "gate on {}: {} is {:.4}: {verdict}",
                gate.set, gate.limit, gate.value
            ),
        );
    }
    for warning in &report.warnings {
        line(&mut text, &format!("warning: {warning}"));
    }
    places(&mut text, report, run_dir);
    text
}

fn headline(text: &mut String, report: &Report, reason: Option<&str>) {
    let reason = report.reason.as_deref().or(reason);
    let because = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    match report.status {
        Status::Done => line(text, &format!("{}: done", report.run)),
        Status::GateFailed => line(
            text,
            &format!("{}: quality gate failed{because}", report.run),
        ),
        Status::Failed => line(text, &format!("{}: failed{because}", report.run)),
    }
    let achieved = &report.achieved;
    if achieved.parameters > 0 {
        let sought = report.target.get(&achieved.measure);
        let shown = |value: f64| match achieved.measure.as_str() {
            "size_bytes" => megabytes_f64(value),
            _ => format!("{value:.4}"),
        };
        let sought = match sought.and_then(serde_json::Value::as_f64) {
            Some(bytes) if achieved.measure == "size_bytes" => megabytes_f64(bytes),
            _ => sought.map_or_else(|| report.target.to_string(), ToString::to_string),
        };
        line(
            text,
            &format!(
                "{}: {} reached, {sought} sought",
                achieved.measure,
                shown(achieved.value)
            ),
        );
    }
}

fn quality(
    text: &mut String,
    report: &Report,
    set: &str,
    ppl: Option<&MetricResult>,
    kl: Option<&MetricResult>,
) {
    let achieved = &report.achieved;
    let columns = Columns::of(report);
    let row = |name: &str, ppl: Option<f64>, kl: Option<f64>, much: [String; 2]| {
        let [much, size] = much;
        [name.to_owned(), number(ppl, 2), number(kl, 4), much, size]
    };
    let [much, size] = columns.heads();
    let heads = ["", "perplexity", "KL divergence", much, size].map(str::to_owned);
    let dense_kl = kl.map(|it| it.dense);
    let mut rows = vec![
        heads,
        row(
            "dense",
            ppl.map(|it| it.dense),
            dense_kl,
            columns.dense(achieved),
        ),
    ];
    let best = ppl.and_then(|it| {
        it.baselines
            .iter()
            .filter(|(_, value)| value.is_finite())
            .min_by(|a, b| a.1.total_cmp(b.1))
    });
    if let Some((name, best_ppl)) = best {
        let best_kl = kl.and_then(|it| it.baselines.get(name).copied());
        rows.push(row(
            &format!("best baseline ({name})"),
            Some(*best_ppl),
            best_kl,
            columns.baseline(report, name),
        ));
    }
    let (ours_ppl, ours_kl) = (ppl.map(|it| it.compressed), kl.map(|it| it.compressed));
    rows.push(row("EvoPress", ours_ppl, ours_kl, columns.ours(achieved)));

    line(text, &format!("\non {set}:"));
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    for row in rows {
        let cells: Vec<_> = (1..5)
            .map(|column| format!("{:>width$}", row[column], width = widths[column]))
            .collect();
        line(
            text,
            &format!(
                "  {:<width$}  {}",
                row[0],
                cells.join("   "),
                width = widths[0]
            ),
        );
    }
    line(text, "");
}

fn places(text: &mut String, report: &Report, run_dir: &Path) {
    for artifact in &report.artifacts {
        line(
            text,
            &format!(
                "model:     {} ({}, {})",
                artifact.path,
                artifact.format,
                megabytes(artifact.bytes)
            ),
        );
    }
    let page = run_dir.join("report.html");
    let file = if page.is_file() {
        page
    } else {
        run_dir.join("report.json")
    };
    line(text, &format!("report:    {}", file.display()));
    for place in &report.unpublished {
        line(
            text,
            &format!(
                "not published yet: {} ({}): {}",
                place.location, place.registry, place.reason
            ),
        );
    }
    for place in &report.published {
        line(
            text,
            &format!(
                "published: {} ({} {})",
                place.location, place.registry, place.version
            ),
        );
    }
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}"); // writing to a String cannot fail
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

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
