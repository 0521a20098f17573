//! The last word of a run for people: what it cost in quality, what it saved, what the baselines reach, where everything is.

use std::fmt::Write as _;
use std::path::Path;

use evopress_spec::{Metric, MetricResult, Report, Status};

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
    format!("{:.1} MB", as_f64(bytes) / 1e6)
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
        let sought = report
            .target
            .get(&achieved.measure)
            .map_or_else(|| report.target.to_string(), ToString::to_string);
        line(
            text,
            &format!(
                "{}: {:.4} reached, {sought} sought",
                achieved.measure, achieved.value
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
    let number = |value: Option<f64>, digits: usize| {
        value
            .filter(|it| it.is_finite())
            .map_or_else(|| "-".to_owned(), |it| format!("{it:.digits$}"))
    };
    let row = |name: &str, ppl: Option<f64>, kl: Option<f64>, parameters: u64, bytes: u64| {
        [
            name.to_owned(),
            number(ppl, 2),
            number(kl, 4),
            grouped(parameters),
            megabytes(bytes),
        ]
    };
    let heads = ["", "perplexity", "KL divergence", "parameters", "size"].map(str::to_owned);
    let dense_kl = kl.map(|it| it.dense);
    let dense = row(
        "dense",
        ppl.map(|it| it.dense),
        dense_kl,
        achieved.dense_parameters,
        achieved.dense_size_bytes,
    );
    let mut rows = vec![heads, dense];
    let best = ppl.and_then(|it| {
        it.baselines
            .iter()
            .filter(|(_, value)| value.is_finite())
            .min_by(|a, b| a.1.total_cmp(b.1))
    });
    if let Some((name, best_ppl)) = best {
        let parameters = report
            .baselines
            .iter()
            .find(|it| it.name == *name)
            .map_or(achieved.parameters, |it| it.parameters);
        let best_kl = kl.and_then(|it| it.baselines.get(name).copied());
        rows.push(row(
            &format!("best baseline ({name})"),
            Some(*best_ppl),
            best_kl,
            parameters,
            sized(parameters, report),
        ));
    }
    let (ours_ppl, ours_kl) = (ppl.map(|it| it.compressed), kl.map(|it| it.compressed));
    rows.push(row(
        "EvoPress",
        ours_ppl,
        ours_kl,
        achieved.parameters,
        achieved.size_bytes,
    ));

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

/// A baseline is not written; its size follows from its parameters.
fn sized(parameters: u64, report: &Report) -> u64 {
    let achieved = &report.achieved;
    let removed = achieved.dense_parameters.saturating_sub(parameters);
    let bytes_each = achieved
        .dense_size_bytes
        .checked_div(achieved.dense_parameters)
        .unwrap_or(0);
    achieved
        .dense_size_bytes
        .saturating_sub(removed * bytes_each)
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
fn grouped(number: u64) -> String {
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
fn as_f64(value: u64) -> f64 {
    value as f64
}
