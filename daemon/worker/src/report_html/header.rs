//! The head of the page: how the run ended, the result in one sentence, and what is wrong with it.

use evopress_spec::{Report, Status};
use maud::{Markup, html};

use super::quality::is_packed;
use super::text::{bytes, metric_words, number, percent, ratio};

/// Name, verdict and warnings.
pub(super) fn header(report: &Report) -> Markup {
    let same = report
        .baselines
        .iter()
        .find(|it| !it.genotype.is_empty() && it.genotype == report.genotype);
    html! {
        header {
            h1 {
                (report.name) " "
                span class={ "badge " (report.status.as_str()) } { (status_words(report.status)) }
            }
            p.run { (report.run) }
            @if let Some(reason) = &report.reason {
                p.callout.bad { (reason) }
            }
            (verdict(report))
            @if let Some(delivered) = &report.delivered {
                p {
                    "Dense means as delivered: the weights of the model came as " (delivered) ", "
                    (bytes(delivered.size_bytes)) "."
                }
            }
            (beaten(report))
            @if let Some(same) = same {
                p.callout.warn {
                    "The search ended with the same levels as the baseline " (same.name) "."
                }
            }
            @for warning in &report.warnings {
                p.callout.warn { (warning) }
            }
        }
    }
}

/// How the run ended, in words.
pub(super) fn status_words(status: Status) -> &'static str {
    match status {
        Status::Done => "done",
        Status::GateFailed => "quality gate failed",
        Status::Failed => "failed",
    }
}

/// The result in one sentence; nothing where none was measured.
fn verdict(report: &Report) -> Markup {
    let Some(first) = report.evaluation.first() else {
        return html! {};
    };
    let finite = first
        .baselines
        .iter()
        .filter(|(_, value)| value.is_finite());
    let best = finite.min_by(|a, b| a.1.total_cmp(b.1));
    let best = best.filter(|_| report.beaten_by.is_empty());
    html! {
        p.lead {
            (smaller(report)) "; " (metric_words(first.metric)) " on " (first.set) ": "
            b { (number(first.dense)) } " dense, " b { (number(first.compressed)) } " compressed."
            @if let Some((name, value)) = best {
                " The best baseline, " (name) ", reaches " (number(*value)) "."
            }
        }
    }
}

/// How much smaller than the dense model.
fn smaller(report: &Report) -> String {
    let achieved = &report.achieved;
    if is_packed(report) {
        let times = ratio(achieved.dense_size_bytes, achieved.packed_bytes);
        format!(
            "{} packed, {}× smaller than the dense model",
            bytes(achieved.packed_bytes),
            number(times)
        )
    } else {
        let share = 1.0 - ratio(achieved.parameters, achieved.dense_parameters);
        format!("{} fewer parameters than the dense model", percent(share))
    }
}

/// Says plainly that a baseline is better, and by how much.
fn beaten(report: &Report) -> Markup {
    let (Some(first), false) = (report.evaluation.first(), report.beaten_by.is_empty()) else {
        return html! {};
    };
    let better = report.beaten_by.iter();
    let better: Vec<String> = better
        .map(|name| match first.baselines.get(name) {
            Some(value) => format!("{name} ({})", number(*value)),
            None => name.clone(),
        })
        .collect();
    let subject = match better.len() {
        1 => "A baseline is",
        _ => "Baselines are",
    };
    html! {
        p.callout.warn {
            b { (subject) " better than this result:" }
            " " (better.join(", ")) ", against " (number(first.compressed)) " of the search."
        }
    }
}
