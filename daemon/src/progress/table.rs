//! The last word of a run for people: what it cost in quality, what it saved, what the baselines reach, where everything is.

use std::fmt::Write as _;
use std::path::Path;

use evopress_spec::{Metric, MetricResult, Report, Status};

use super::columns::{Columns, number};

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

/// `269.1 MB`: millions of bytes, as disks and downloads are counted.
#[must_use]
pub fn megabytes(bytes: u64) -> String {
    megabytes_f64(as_f64(bytes))
}

fn megabytes_f64(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
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

/// `134,515,008`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}"); // writing to a String cannot fail
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
pub(super) fn as_f64(value: u64) -> f64 {
    value as f64
}
