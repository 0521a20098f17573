//! A genotype as a picture: a column a block, a row a kind of unit, a cell's look its level.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use evopress_spec::Report;
use indexmap::{IndexMap, IndexSet};

use super::text::escape;

/// Levels of their own look: what is there untouched and what is gone. The others take the colours in turn.
const KEPT: &str = "keep";
const DROPPED: &str = "drop";
const NUM_COLOURS: usize = 6;
const LABEL: f64 = 92.0;
const CELL: f64 = 22.0;
const ROW: f64 = 24.0;

/// The result's picture, and the baselines' below it.
pub(super) fn pictures(report: &Report) -> String {
    if report.genotype.is_empty() {
        return String::new();
    }
    let mut html = picture("EvoPress", &report.genotype);
    html.push_str(&legend(report));
    let others: String = report
        .baselines
        .iter()
        .filter(|it| !it.genotype.is_empty())
        .map(|it| {
            format!(
                "<h3>{}</h3>\n{}",
                escape(&it.name),
                picture(&it.name, &it.genotype)
            )
        })
        .collect();
    if !others.is_empty() {
        let _ = write!(
            html,
            "<details open>\n<summary>The baselines' choice</summary>\n{others}</details>\n"
        );
    }
    html
}

fn picture(name: &str, genotype: &IndexMap<String, String>) -> String {
    let mut rows: IndexMap<&str, BTreeMap<u32, (&str, &str)>> = IndexMap::new();
    let mut elsewhere = Vec::new();
    for (unit, level) in genotype {
        match split(unit) {
            Some((block_idx, kind)) => {
                rows.entry(kind)
                    .or_default()
                    .insert(block_idx, (unit, level));
            }
            None => elsewhere.push(format!("<code>{}</code>: {}", escape(unit), escape(level))),
        }
    }
    let num_blocks = rows
        .values()
        .filter_map(|row| row.keys().next_back())
        .max()
        .map_or(0, |last| last + 1);
    let mut html = String::new();
    if num_blocks > 0 {
        html.push_str(&grid(name, &rows, num_blocks));
    }
    if !elsewhere.is_empty() {
        let _ = writeln!(html, "<p>{}</p>", elsewhere.join(", "));
    }
    html
}

fn grid(name: &str, rows: &IndexMap<&str, BTreeMap<u32, (&str, &str)>>, num_blocks: u32) -> String {
    let width = LABEL + f64::from(num_blocks) * CELL + 2.0;
    let num_rows = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let height = f64::from(num_rows) * ROW + 18.0;
    let mut svg = format!(
        "<div class=\"scroll\"><svg class=\"genotype\" viewBox=\"0 0 {width} {height}\" style=\"max-width:{width}px\" \
         role=\"img\" aria-label=\"levels of {}\">\n",
        escape(name),
    );
    let mut top = 0.0;
    for (kind, row) in rows {
        let _ = writeln!(
            svg,
            "<text class=\"y\" x=\"{}\" y=\"{}\">{}</text>",
            LABEL - 8.0,
            top + 16.0,
            kind_words(kind)
        );
        for (block_idx, (unit, level)) in row {
            let _ = writeln!(
                svg,
                "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"><title>{}: {}</title></rect>",
                look(level),
                LABEL + f64::from(*block_idx) * CELL + 1.0,
                top + 1.0,
                CELL - 2.0,
                ROW - 2.0,
                escape(unit),
                escape(level),
            );
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

/// `model.layers.3.self_attn` is block 3, kind `self_attn`; a whole block has the empty kind.
fn split(unit: &str) -> Option<(u32, &str)> {
    let (_, rest) = unit.split_once("layers.")?;
    let (block_idx, kind) = rest.split_once('.').unwrap_or((rest, ""));
    Some((block_idx.parse().ok()?, kind))
}

fn kind_words(kind: &str) -> String {
    match kind {
        "" => "block".to_owned(),
        "self_attn" => "attention".to_owned(),
        "mlp" => "MLP".to_owned(),
        other => escape(other.rsplit('.').next().unwrap_or(other)),
    }
}

/// Which colour a level takes depends on its name alone, so that all pictures of all reports agree.
fn look(level: &str) -> String {
    match level {
        KEPT => "kept".to_owned(),
        DROPPED => "dropped".to_owned(),
        other => {
            let sum = other.bytes().fold(0usize, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(usize::from(byte))
            });
            format!("level-{}", sum % NUM_COLOURS)
        }
    }
}

fn legend(report: &Report) -> String {
    let mut levels: IndexMap<&str, usize> = IndexMap::new();
    for level in report.genotype.values() {
        *levels.entry(level).or_default() += 1;
    }
    let kinds: IndexSet<_> = report
        .genotype
        .keys()
        .filter_map(|unit| split(unit))
        .map(|(_, kind)| kind)
        .collect();
    let mut html = String::from("<p class=\"legend\">");
    for (level, count) in &levels {
        let _ = write!(
            html,
            "<svg viewBox=\"0 0 14 14\"><rect class=\"{}\" x=\"1\" y=\"1\" width=\"12\" height=\"12\" rx=\"2\"/></svg> {} ({count}) ",
            look(level),
            escape(level),
        );
    }
    if kinds.len() > 1 && levels.contains_key(DROPPED) {
        for kind in kinds {
            let dropped = |(unit, level): &(&String, &String)| {
                level.as_str() == DROPPED && split(unit).is_some_and(|it| it.1 == kind)
            };
            let count = report.genotype.iter().filter(dropped).count();
            let _ = write!(html, "· {count} {} dropped ", kind_words(kind));
        }
    }
    html.push_str("</p>\n");
    html
}
