//! Tables of quality: the dense model, the baselines and the result.

use evopress_spec::{Metric, MetricResult, Report};
use maud::{Markup, html};

use super::text::{as_f64, bytes, grouped, metric_words, number, percent, ratio};

/// A model, a row of the table.
struct Row<'a> {
    name: &'a str,
    class: Option<&'a str>,
    /// One for each metric.
    values: Vec<f64>,
    /// How much of the budget's measure it has.
    much: Markup,
    size_bytes: f64,
}

/// One table for each set; nothing where none was measured.
pub(super) fn tables(report: &Report) -> Option<Markup> {
    let mut sets: Vec<&str> = Vec::new();
    for result in &report.evaluation {
        if !sets.contains(&result.set.as_str()) {
            sets.push(&result.set);
        }
    }
    let tables = html! {
        @for set in &sets {
            (table(report, set))
        }
    };
    (!sets.is_empty()).then_some(tables)
}

/// Whether the result is judged by its packed size: where parts are left out, parameters say more.
pub(super) fn is_packed(report: &Report) -> bool {
    report.achieved.packed_bytes > 0 && report.achieved.measure != "drop"
}

fn table(report: &Report, set: &str) -> Markup {
    let results = report.evaluation.iter().filter(|it| it.set == set);
    let results: Vec<&MetricResult> = results.collect();
    let tokens = results.iter().map(|it| it.tokens).max().unwrap_or(0);
    let much = match report.achieved.measure.as_str() {
        _ if !is_packed(report) => "parameters",
        "sparsity" => "sparsity",
        "bits_per_weight" => "bits a weight",
        _ => "× smaller",
    };
    let size = if is_packed(report) {
        "packed size"
    } else {
        "size"
    };
    let names = baseline_names(&results);
    let baselines = names.iter().map(|name| baseline(report, &results, name));
    let rows = std::iter::once(dense(report, &results))
        .chain(baselines)
        .chain([ours(report, &results)]);
    html! {
        div.scroll {
            table.numbers {
                caption { "On " (set) ", " (grouped(tokens)) " tokens" }
                thead {
                    tr {
                        th {}
                        @for result in &results {
                            th { (metric_words(result.metric)) }
                        }
                        th { "× dense" }
                        th { (much) }
                        th { (size) }
                    }
                }
                tbody {
                    @for it in rows {
                        (row(&results, &it))
                    }
                }
            }
        }
    }
}

fn row(results: &[&MetricResult], row: &Row<'_>) -> Markup {
    let mut pairs = results.iter().zip(&row.values);
    let perplexity = pairs.find(|(it, _)| it.metric == Metric::Perplexity);
    let against = perplexity.map_or(f64::NAN, |(it, value)| value / it.dense);
    let against = match against.is_finite() {
        true => format!("{against:.2}"),
        false => "–".to_owned(),
    };
    let size = match row.size_bytes.is_finite() && row.size_bytes > 0.0 {
        true => bytes(rounded(row.size_bytes)),
        false => "–".to_owned(),
    };
    html! {
        tr class=[row.class] {
            th { (row.name) }
            @for value in &row.values {
                td { (number(*value)) }
            }
            td { (against) }
            td { (row.much) }
            td { (size) }
        }
    }
}

fn dense<'a>(report: &Report, results: &[&MetricResult]) -> Row<'a> {
    let achieved = &report.achieved;
    let value = match achieved.measure.as_str() {
        "bits_per_weight" => 8.0 * bytes_per_weight(report),
        _ => 0.0,
    };
    Row {
        name: "dense",
        class: Some("dense"),
        values: results.iter().map(|it| it.dense).collect(),
        much: match is_packed(report) {
            true => reached(report, value, achieved.dense_size_bytes),
            false => left(report, achieved.dense_parameters),
        },
        size_bytes: as_f64(achieved.dense_size_bytes),
    }
}

fn baseline<'a>(report: &Report, results: &[&MetricResult], name: &'a str) -> Row<'a> {
    let achieved = &report.achieved;
    let values = results.iter().map(|it| it.baselines.get(name).copied());
    let found = report.baselines.iter().find(|it| it.name == name);
    let (much, size_bytes) = if is_packed(report) {
        let (value, bytes) = found.map_or((f64::NAN, 0), |it| (it.achieved, it.packed_bytes));
        (reached(report, value, bytes), as_f64(bytes))
    } else {
        let parameters = found.map_or(achieved.parameters, |it| it.parameters);
        // A baseline is not written: its size follows from its parameters.
        let removed = as_f64(achieved.dense_parameters.saturating_sub(parameters));
        let size = as_f64(achieved.dense_size_bytes) - removed * bytes_per_weight(report);
        (left(report, parameters), size)
    };
    let is_better = report.beaten_by.iter().any(|it| it == name);
    Row {
        name,
        class: is_better.then_some("better"),
        values: values.map(|value| value.unwrap_or(f64::NAN)).collect(),
        much,
        size_bytes,
    }
}

fn ours<'a>(report: &Report, results: &[&MetricResult]) -> Row<'a> {
    let achieved = &report.achieved;
    let (much, size_bytes) = match is_packed(report) {
        true => (
            reached(report, achieved.value, achieved.packed_bytes),
            achieved.packed_bytes,
        ),
        false => (left(report, achieved.parameters), achieved.size_bytes),
    };
    Row {
        name: "EvoPress",
        class: Some("ours"),
        values: results.iter().map(|it| it.compressed).collect(),
        much,
        size_bytes: as_f64(size_bytes),
    }
}

/// Parameters that are left, and their share.
fn left(report: &Report, parameters: u64) -> Markup {
    let share = percent(ratio(parameters, report.achieved.dense_parameters));
    html! { (grouped(parameters)) " " small { (share) } }
}

/// The value in the budget's measure; for a budget in bytes, how many times smaller than dense.
fn reached(report: &Report, value: f64, packed_bytes: u64) -> Markup {
    let value = match report.achieved.measure.as_str() {
        "sparsity" | "bits_per_weight" => value,
        _ => ratio(report.achieved.dense_size_bytes, packed_bytes),
    };
    html! { (number(value)) }
}

fn bytes_per_weight(report: &Report) -> f64 {
    let achieved = &report.achieved;
    ratio(achieved.dense_size_bytes, achieved.dense_parameters)
}

fn baseline_names<'a>(results: &[&'a MetricResult]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for name in results.iter().flat_map(|it| it.baselines.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size for people, never negative"
)]
fn rounded(size_bytes: f64) -> u64 {
    size_bytes.max(0.0) as u64
}
