//! `report.html`: a run's report as one page that needs nothing but itself.
//!
//! In: the report. Out: HTML with its style and drawings inside, for light and dark screens and for paper. All text of
//! the report is escaped; the page holds no script and loads nothing.

mod chart;
mod genotype;
mod means;
mod scale;
mod tables;
mod text;

use std::fmt::Write as _;

use evopress_spec::{Report, Status};

use crate::names;

use self::text::{escape, number, percent, section};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let name = escape(&report.name);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}: {status}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        status = status_words(report.status),
    );
    page.push_str(&header(report));
    page.push_str(&section("Quality", &tables::quality(report)));
    page.push_str(&section("Search", &chart::search(&report.search)));
    let title = if names::only_drops(&report.genotype) {
        "What was kept"
    } else {
        "Levels"
    };
    page.push_str(&section(title, &genotype::pictures(report)));
    page.push_str(&section("Quality gates", &tables::gates(report)));
    page.push_str(&section(
        "Where the time went",
        &chart::timings(&report.timings),
    ));
    page.push_str(&section("Level databases", &tables::databases(report)));
    page.push_str(&section("Files", &tables::files(report)));
    page.push_str(&section("Settings and machine", &tables::settings(report)));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn header(report: &Report) -> String {
    let mut html = format!(
        "<header>\n<h1>{} <span class=\"badge {}\">{}</span></h1>\n<p class=\"run\">{}</p>\n",
        escape(&report.name),
        report.status.as_str(),
        status_words(report.status),
        escape(&report.run),
    );
    if let Some(reason) = &report.reason {
        let _ = writeln!(html, "<p class=\"callout bad\">{}</p>", escape(reason));
    }
    if let Some(sentence) = verdict(report) {
        let _ = writeln!(html, "<p class=\"lead\">{sentence}</p>");
    }
    if let Some(sentence) = beaten(report) {
        let _ = writeln!(html, "<p class=\"callout warn\">{sentence}</p>");
    }
    if let Some(same) = report
        .baselines
        .iter()
        .find(|it| !it.genotype.is_empty() && it.genotype == report.genotype)
    {
        let name = escape(&same.name);
        let _ = writeln!(
            html,
            "<p class=\"callout warn\">The search ended at the very choice of the baseline {name}.</p>"
        );
    }
    for warning in &report.warnings {
        let _ = writeln!(html, "<p class=\"callout warn\">{}</p>", escape(warning));
    }
    html.push_str("</header>\n");
    html
}

/// The result in one sentence.
fn verdict(report: &Report) -> Option<String> {
    let achieved = &report.achieved;
    let first = report.evaluation.first()?;
    let best = first
        .baselines
        .iter()
        .filter(|(_, value)| value.is_finite())
        .min_by(|a, b| a.1.total_cmp(b.1));
    let best =
        best.filter(|_| report.beaten_by.is_empty())
            .map_or_else(String::new, |(name, value)| {
                format!(
                    " The best baseline, {}, reaches {}.",
                    escape(name),
                    number(*value)
                )
            });
    let smaller = if tables::is_packed(report) {
        format!(
            "{} packed, {}× smaller than the dense model",
            text::bytes(achieved.packed_bytes),
            number(text::ratio(
                achieved.dense_size_bytes,
                achieved.packed_bytes
            ))
        )
    } else {
        let share = 1.0 - text::ratio(achieved.parameters, achieved.dense_parameters);
        format!("{} fewer parameters than the dense model", percent(share))
    };
    Some(format!(
        "{smaller}; {metric} on {set}: <b>{dense}</b> dense, <b>{ours}</b> compressed.{best}",
        metric = text::metric_words(first.metric),
        set = escape(&first.set),
        dense = number(first.dense),
        ours = number(first.compressed),
    ))
}

/// Says plainly that a baseline is better, and by how much.
fn beaten(report: &Report) -> Option<String> {
    let first = report.evaluation.first()?;
    let better: Vec<String> = report
        .beaten_by
        .iter()
        .map(|name| match first.baselines.get(name) {
            Some(value) => format!("{} ({})", escape(name), number(*value)),
            None => escape(name),
        })
        .collect();
    if better.is_empty() {
        return None;
    }
    let verb = if better.len() == 1 {
        "A baseline is"
    } else {
        "Baselines are"
    };
    Some(format!(
        "<b>{verb} better than this result:</b> {}, against {} of the search.",
        better.join(", "),
        number(first.compressed),
    ))
}

fn status_words(status: Status) -> &'static str {
    match status {
        Status::Done => "done",
        Status::GateFailed => "quality gate failed",
        Status::Failed => "failed",
    }
}

#[cfg(test)]
mod tests;
