//! The page's tables.

use std::fmt::Write as _;

use evopress_spec::{Metric, MetricResult, Report, SearchResult};

use super::text::{as_f64, bytes, duration, escape, grouped, metric_words, number, percent, ratio};

/// Dense, baselines and the result, one table a set.
pub(super) fn quality(report: &Report) -> String {
    let mut sets: Vec<&str> = Vec::new();
    for result in &report.evaluation {
        if !sets.contains(&result.set.as_str()) {
            sets.push(&result.set);
        }
    }
    sets.into_iter()
        .map(|set| quality_on(report, set))
        .collect()
}

fn quality_on(report: &Report, set: &str) -> String {
    let results: Vec<&MetricResult> = report
        .evaluation
        .iter()
        .filter(|it| it.set == set)
        .collect();
    let tokens = results.iter().map(|it| it.tokens).max().unwrap_or(0);
    let mut html = format!(
        "<div class=\"scroll\"><table class=\"numbers\">\n<caption>On {}, {} tokens",
        escape(set),
        grouped(tokens)
    );
    html.push_str("</caption>\n<thead><tr><th></th>");
    for result in &results {
        let _ = write!(html, "<th>{}</th>", metric_words(result.metric));
    }
    let packed = is_packed(report);
    let (much, size) = match report.achieved.measure.as_str() {
        _ if !packed => ("parameters", "size"),
        "sparsity" => ("sparsity", "packed size"),
        "bits_per_weight" => ("bits a weight", "packed size"),
        _ => ("× smaller", "packed size"),
    };
    let _ = writeln!(
        html,
        "<th>× dense</th><th>{much}</th><th>{size}</th></tr></thead>\n<tbody>"
    );

    let achieved = &report.achieved;
    let bytes_each = ratio(achieved.dense_size_bytes, achieved.dense_parameters);
    let mut row = |name: &str, class: &str, values: &[f64], much: String, size_bytes: f64| {
        let _ = write!(html, "<tr class=\"{class}\"><th>{name}</th>");
        for value in values {
            let _ = write!(html, "<td>{}</td>", number(*value));
        }
        let against = results
            .iter()
            .zip(values)
            .find(|(it, _)| it.metric == Metric::Perplexity);
        let against = against.map_or(f64::NAN, |(it, value)| value / it.dense);
        let against = if against.is_finite() {
            format!("{against:.2}")
        } else {
            "–".to_owned()
        };
        let size = if size_bytes.is_finite() && size_bytes > 0.0 {
            bytes(rounded(size_bytes))
        } else {
            "–".to_owned()
        };
        let _ = writeln!(
            html,
            "<td>{against}</td><td>{much}</td><td>{size}</td></tr>"
        );
    };
    let left = |parameters: u64| {
        format!(
            "{} <small>{}</small>",
            grouped(parameters),
            percent(ratio(parameters, achieved.dense_parameters))
        )
    };
    let reached = |value: f64, packed_bytes: u64| match achieved.measure.as_str() {
        "sparsity" | "bits_per_weight" => number(value),
        _ => number(ratio(achieved.dense_size_bytes, packed_bytes)),
    };
    let dense_value = match achieved.measure.as_str() {
        "bits_per_weight" => 8.0 * bytes_each,
        _ => 0.0,
    };

    let dense: Vec<f64> = results.iter().map(|it| it.dense).collect();
    row(
        "dense",
        "dense",
        &dense,
        if packed {
            reached(dense_value, achieved.dense_size_bytes)
        } else {
            left(achieved.dense_parameters)
        },
        as_f64(achieved.dense_size_bytes),
    );
    for name in baseline_names(&results) {
        let values: Vec<f64> = results
            .iter()
            .map(|it| it.baselines.get(name).copied().unwrap_or(f64::NAN))
            .collect();
        let found = report.baselines.iter().find(|it| it.name == name);
        let parameters = found.map_or(achieved.parameters, |it| it.parameters);
        let class = if report.beaten_by.iter().any(|it| it == name) {
            "better"
        } else {
            ""
        };
        // A baseline is not written: its size follows from its parameters.
        let removed = as_f64(achieved.dense_parameters.saturating_sub(parameters));
        let size_bytes = as_f64(achieved.dense_size_bytes) - removed * bytes_each;
        let (much, size_bytes) = if packed {
            let (value, bytes) = found.map_or((f64::NAN, 0), |it| (it.achieved, it.packed_bytes));
            (reached(value, bytes), as_f64(bytes))
        } else {
            (left(parameters), size_bytes)
        };
        row(&escape(name), class, &values, much, size_bytes);
    }
    let ours: Vec<f64> = results.iter().map(|it| it.compressed).collect();
    row(
        "EvoPress",
        "ours",
        &ours,
        if packed {
            reached(achieved.value, achieved.packed_bytes)
        } else {
            left(achieved.parameters)
        },
        as_f64(if packed {
            achieved.packed_bytes
        } else {
            achieved.size_bytes
        }),
    );
    html.push_str("</tbody>\n</table></div>\n");
    html
}

/// Whether the result is judged by its packed size: where parts are left out, parameters say more.
pub(super) fn is_packed(report: &Report) -> bool {
    report.achieved.packed_bytes > 0 && report.achieved.measure != "drop"
}

/// What the levels were made of.
pub(super) fn databases(report: &Report) -> String {
    if report.databases.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<div class=\"scroll\"><table class=\"files\">\n<thead><tr><th>method</th><th>size</th><th>calibration tokens</th>\
         <th>built in</th><th>key</th></tr></thead>\n<tbody>\n",
    );
    for it in &report.databases {
        let reused = if it.reused { ", before this run" } else { "" };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}{reused}</td><td><code>{}</code></td></tr>",
            escape(&it.method),
            bytes(it.bytes),
            grouped(it.tokens),
            duration(it.build_seconds),
            escape(&it.key),
        );
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
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

/// What was demanded and what was found.
pub(super) fn gates(report: &Report) -> String {
    if report.gates.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<table>\n<thead><tr><th>set</th><th>limit</th><th>found</th><th></th></tr></thead>\n<tbody>\n",
    );
    for gate in &report.gates {
        let (class, word) = if gate.passed {
            ("good", "passed")
        } else {
            ("bad", "missed")
        };
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td><td><span class=\"badge {class}\">{word}</span></td></tr>",
            escape(&gate.set),
            escape(&gate.limit),
            number(gate.value),
        );
    }
    html.push_str("</tbody>\n</table>\n");
    html
}

/// What was written and where it was published.
pub(super) fn files(report: &Report) -> String {
    let mut rows = String::new();
    for artifact in &report.artifacts {
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td class=\"path\">{}</td><td>{}</td><td><code>{}</code></td></tr>",
            escape(&artifact.format),
            escape(&artifact.path),
            bytes(artifact.bytes),
            escape(&artifact.digest),
        );
    }
    for place in &report.published {
        let _ = writeln!(
            rows,
            "<tr><td>published ({})</td><td class=\"path\">{}</td><td>{}</td><td><code>{}</code></td></tr>",
            escape(&place.registry),
            escape(&place.location),
            escape(&place.version),
            escape(&place.digest),
        );
    }
    if rows.is_empty() {
        return rows;
    }
    let head = "<thead><tr><th>what</th><th>where</th><th>size or version</th><th>SHA-256</th></tr></thead>";
    format!(
        "<div class=\"scroll\"><table class=\"files\">\n{head}\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn time_of(search: &SearchResult) -> String {
    let all = duration(search.seconds);
    if search.switch_seconds > 0.0 && search.seconds > 0.0 {
        let share = percent(search.switch_seconds / search.seconds);
        format!("{all}, {share} of it in level switches")
    } else {
        all
    }
}

/// The rest, as pairs.
pub(super) fn settings(report: &Report) -> String {
    let search = &report.search;
    let achieved = &report.achieved;
    let mode = serde_json::to_value(search.mode)
        .ok()
        .and_then(|it| it.as_str().map(str::to_owned))
        .unwrap_or_default();
    let pairs = [
        (
            "target",
            format!("<code>{}</code>", escape(&report.target.to_string())),
        ),
        (
            "reached",
            match achieved.measure.as_str() {
                "size_bytes" => format!("size_bytes {}", grouped(achieved.value as u64)),
                measure => format!("{} {}", escape(measure), number(achieved.value)),
            },
        ),
        (
            "search",
            match &search.ended {
                Some(why) => format!(
                    "{} mode, {} generations; it ended because {}",
                    escape(&mode),
                    search.generations,
                    escape(why)
                ),
                None => format!("{} mode, {} generations", escape(&mode), search.generations),
            },
        ),
        ("tokens forward", grouped(search.forward_tokens)),
        ("time of the search", time_of(search)),
        ("peak memory of the worker", bytes(report.peak_memory_bytes)),
        ("machine", escape(&report.hardware)),
        (
            "digest of the spec",
            format!("<code>{}</code>", escape(&report.spec_digest)),
        ),
    ];
    let mut html = String::from("<dl>\n");
    for (name, value) in pairs {
        let _ = writeln!(html, "<dt>{name}</dt><dd>{value}</dd>");
    }
    html.push_str("</dl>\n");
    html
}
