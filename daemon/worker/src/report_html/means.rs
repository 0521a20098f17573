//! Where the budget went: the mean level of each kind of layer and of each block, where levels are numbers of one measure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use evopress_spec::Report;
use indexmap::IndexMap;

use super::chart::Axis;
use super::text::{escape, number};
use crate::names::{Level, Meaning, kind_words, only_drops, split};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 38.0;

type ValueOf = fn(Meaning) -> Option<f64>;

/// A measure that all levels of the genotype have a number in.
fn measure(report: &Report) -> Option<(&'static str, ValueOf)> {
    let has_all = |value: ValueOf| {
        let mut levels = layers(report);
        levels.all(|(_, _, meaning)| value(meaning).is_some())
    };
    if layers(report).next().is_none() || only_drops(&report.genotype) {
        None
    } else if has_all(Meaning::bits) {
        Some(("bits", Meaning::bits))
    } else if has_all(Meaning::sparsity) {
        Some(("sparsity", Meaning::sparsity))
    } else {
        None
    }
}

/// The layers of blocks; a sub-block that a search may drop as well has no level of its own here.
fn layers(report: &Report) -> impl Iterator<Item = (u32, &str, Meaning)> {
    let units = report.genotype.iter();
    units.filter_map(|(unit, level)| {
        let (block_idx, kind) = split(unit).filter(|(_, kind)| kind.contains('.'))?;
        Some((block_idx, kind, Level::read(level).meaning))
    })
}

/// Both charts, or nothing where levels are no numbers.
pub(super) fn charts(report: &Report) -> String {
    let Some((name, value)) = measure(report) else {
        return String::new();
    };
    let mut kinds: IndexMap<&str, Vec<f64>> = IndexMap::new();
    let mut blocks: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (block_idx, kind, meaning) in layers(report) {
        if let Some(value) = value(meaning) {
            kinds.entry(kind).or_default().push(value);
            blocks.entry(block_idx).or_default().push(value);
        }
    }
    let blocks: Vec<(u32, f64)> = blocks.iter().map(|(idx, all)| (*idx, mean(all))).collect();
    let kinds: Vec<(&str, f64)> = kinds.iter().map(|(kind, all)| (*kind, mean(all))).collect();
    format!(
        "<div class=\"charts\">\n<figure><figcaption>Mean {name} by kind of layer</figcaption>\n{}</figure>\n\
         <figure><figcaption>Mean {name} by block</figcaption>\n{}</figure>\n</div>\n\
         <p class=\"note\">Each layer counts once, whatever its size.</p>\n",
        by_kind(&kinds),
        by_block(name, &blocks),
    )
}

#[expect(clippy::cast_precision_loss, reason = "layers of a model are few")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn by_kind(kinds: &[(&str, f64)]) -> String {
    let most = kinds
        .iter()
        .map(|it| it.1)
        .fold(f64::MIN_POSITIVE, f64::max);
    let mut html = String::from("<table class=\"bars\">\n<tbody>\n");
    for (kind, value) in kinds {
        let _ = writeln!(
            html,
            "<tr><th>{}</th><td class=\"bar\"><span style=\"width:{:.1}%\"></span></td><td>{}</td></tr>",
            escape(kind_words(kind)),
            value / most * 100.0,
            number(*value),
        );
    }
    html.push_str("</tbody>\n</table>\n");
    html
}

fn by_block(name: &str, blocks: &[(u32, f64)]) -> String {
    let most = blocks.iter().map(|it| it.1).fold(0.0, f64::max);
    let axis = Axis::over((0.0, if most > 0.0 { most } else { 1.0 }), 4);
    let last = blocks.iter().map(|it| it.0).max().unwrap_or(0);
    let step = (WIDTH - LEFT - RIGHT) / (f64::from(last) + 1.0);
    let floor = HEIGHT - BOTTOM;
    let tall = |value: f64| axis.share(value) * (floor - TOP);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"mean {name} by block\">\n"
    );
    for tick in &axis.ticks {
        let at = floor - tall(*tick);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/><text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            super::chart::tick_words(*tick),
        );
    }
    for (block_idx, value) in blocks {
        let left = LEFT + f64::from(*block_idx) * step;
        let height = tall(*value).max(0.5);
        let _ = writeln!(
            svg,
            "<rect class=\"column\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>block {block_idx}: {}</title></rect>",
            left + step * 0.12,
            floor - height,
            step * 0.76,
            number(*value),
        );
    }
    let every = (last / 8 + 1).next_multiple_of(if last > 8 { 5 } else { 1 });
    for block_idx in (0..=last).step_by(every as usize) {
        let middle = LEFT + (f64::from(block_idx) + 0.5) * step;
        let _ = writeln!(
            svg,
            "<text class=\"x\" x=\"{middle:.1}\" y=\"{}\">{block_idx}</text>",
            floor + 15.0
        );
    }
    let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
    let _ = writeln!(
        svg,
        "<text class=\"x name\" x=\"{middle}\" y=\"{}\">block</text>\n</svg>",
        HEIGHT - 6.0
    );
    svg
}
