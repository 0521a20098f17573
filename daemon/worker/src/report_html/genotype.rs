//! A genotype as a picture: a column a block, a row a kind of unit, a cell's look its level.

use std::fmt::Write as _;

use evopress_spec::Report;
use indexmap::IndexMap;

use super::means;
use super::scale::Scale;
use super::text::escape;
use crate::names::{ByKind, Level, kind_words, only_drops};

const LABEL: f64 = 92.0;
const CELL: f64 = 22.0;
const ROW: f64 = 24.0;

/// The result's picture, and the baselines' below it.
pub(super) fn pictures(report: &Report) -> String {
    if report.genotype.is_empty() {
        return String::new();
    }
    let scale = Scale::of(report);
    let mut html = picture("EvoPress", &report.genotype, &scale);
    html.push_str(&scale.legend(&report.genotype));
    html.push_str(&means::charts(report));
    let others: String = report
        .baselines
        .iter()
        .filter(|it| !it.genotype.is_empty())
        .map(|it| {
            format!(
                "<h3>{}</h3>\n{}",
                escape(&it.name),
                picture(&it.name, &it.genotype, &scale)
            )
        })
        .collect();
    if !others.is_empty() {
        // Two rows each can be seen at a glance; seven rows each are for those who ask.
        let open = if only_drops(&report.genotype) {
            " open"
        } else {
            ""
        };
        let _ = write!(
            html,
            "<details{open}>\n<summary>The baselines' choice</summary>\n{others}</details>\n"
        );
    }
    html
}

fn picture(name: &str, genotype: &IndexMap<String, String>, scale: &Scale<'_>) -> String {
    let units = ByKind::of(genotype);
    let mut html = String::new();
    if units.num_blocks > 0 {
        html.push_str(&grid(name, &units, scale));
    }
    if !units.elsewhere.is_empty() {
        let each = units.elsewhere.iter();
        let told: Vec<_> = each
            .map(|(unit, level)| format!("<code>{}</code>: {}", escape(unit), escape(level)))
            .collect();
        let _ = writeln!(html, "<p>{}</p>", told.join(", "));
    }
    html
}

fn grid(name: &str, units: &ByKind<'_>, scale: &Scale<'_>) -> String {
    let num_blocks = units.num_blocks;
    let width = LABEL + f64::from(num_blocks) * CELL + 2.0;
    let num_rows = u32::try_from(units.kinds.len()).unwrap_or(u32::MAX);
    let height = f64::from(num_rows) * ROW + 18.0;
    let mut svg = format!(
        "<div class=\"scroll\"><svg class=\"genotype\" viewBox=\"0 0 {width} {height}\" style=\"max-width:{width}px;min-width:{}px\" \
         role=\"img\" aria-label=\"levels of {}\">\n",
        width.min(LABEL + 40.0 * CELL) * 0.8,
        escape(name),
    );
    let mut top = 0.0;
    for (kind, row) in &units.kinds {
        let _ = writeln!(
            svg,
            "<text class=\"y\" x=\"{}\" y=\"{}\">{}</text>",
            LABEL - 8.0,
            top + 16.0,
            escape(kind_words(kind))
        );
        for (block_idx, (unit, level)) in row {
            let left = LABEL + f64::from(*block_idx) * CELL;
            let (look, text) = scale.look(level);
            let _ = writeln!(
                svg,
                "<rect {look} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"><title>{}: {}</title></rect>",
                left + 1.0,
                top + 1.0,
                CELL - 2.0,
                ROW - 2.0,
                escape(unit),
                escape(level),
            );
            let short = Level::read(level).short();
            if !short.is_empty() {
                let _ = writeln!(
                    svg,
                    "<text class=\"x cell {text}\" x=\"{}\" y=\"{}\">{short}</text>",
                    left + CELL / 2.0,
                    top + 15.5,
                );
            }
        }
        top += ROW;
    }
    let every = if num_blocks <= 40 { 1 } else { 5 };
    for block_idx in (0..num_blocks).step_by(every) {
        let middle = LABEL + (f64::from(block_idx) + 0.5) * CELL;
        let _ = writeln!(
            svg,
            "<text class=\"x\" x=\"{middle}\" y=\"{}\">{block_idx}</text>",
            top + 13.0
        );
    }
    svg.push_str("</svg></div>\n");
    svg
}
