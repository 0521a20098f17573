//! `report.html`: a run's report as one page that needs nothing but itself.
//!
//! In: the report. Out: HTML with its style and drawings inside, for light and dark screens and for
//! paper. All text of the report is escaped; the page holds no script and loads nothing.

mod axis;
mod bars;
mod columns;
mod experts;
mod genotype;
mod header;
mod means;
mod quality;
mod scale;
mod search_chart;
mod tables;
#[cfg(test)]
mod tests;
mod text;

use evopress_spec::Report;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::names;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let levels = match names::only_drops(&report.genotype) {
        true => "What was kept",
        false => "Levels",
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.name) ": " (header::status_words(report.status)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (header::header(report))
                    (section("Quality", quality::tables(report)))
                    (section("Search", search_chart::charts(&report.search)))
                    (section(levels, genotype::pictures(report)))
                    (section("Quality gates", tables::gates(report)))
                    (section("Where the time went", bars::timings(&report.timings)))
                    (section("Level databases", tables::databases(report)))
                    (section("Files", tables::files(report)))
                    (section("Settings and machine", Some(tables::settings(report))))
                }
            }
        }
    };
    page.into_string()
}

/// A section, unless there is nothing to say.
fn section(title: &str, content: Option<Markup>) -> Markup {
    html! {
        @if let Some(content) = content {
            section {
                h2 { (title) }
                (content)
            }
        }
    }
}
