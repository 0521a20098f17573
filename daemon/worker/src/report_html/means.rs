//! Where the budget went: the mean level of each kind of layer and of each block, where levels are
//! numbers of one measure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use evopress_spec::Report;
use indexmap::IndexMap;
use maud::{Markup, html};

use super::axis::{Axis, tick_words};
use super::bars::{self, Bar};
use super::text::number;
use crate::names::{Level, Meaning, common_kind, kind_words, only_drops, split};

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

/// The layers of blocks. A sub-block that a search may drop as well has no level of its own here.
fn layers(report: &Report) -> impl Iterator<Item = (u32, &str, Meaning)> {
    let units = report.genotype.iter();
    units.filter_map(|(unit, level)| {
        let (block_idx, kind) = split(unit).filter(|(_, kind)| kind.contains('.'))?;
        Some((block_idx, kind, Level::read(level).meaning))
    })
}

/// Both charts, or nothing where levels are no numbers.
pub(super) fn charts(report: &Report) -> Markup {
    let Some((name, value)) = measure(report) else {
        return html! {};
    };
    let mut kinds: IndexMap<Cow<'_, str>, Vec<f64>> = IndexMap::new();
    let mut blocks: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (block_idx, kind, meaning) in layers(report) {
        if let Some(value) = value(meaning) {
            kinds.entry(common_kind(kind)).or_default().push(value);
            blocks.entry(block_idx).or_default().push(value);
        }
    }
    let blocks: Vec<(u32, f64)> = blocks.iter().map(|(idx, all)| (*idx, mean(all))).collect();
    let kinds: Vec<(&str, f64)> = kinds
        .iter()
        .map(|(kind, all)| (&**kind, mean(all)))
        .collect();
    html! {
        div.charts {
            figure {
                figcaption { "Mean " (name) " by kind of layer" }
                (by_kind(&kinds))
            }
            figure {
                figcaption { "Mean " (name) " by block" }
                (by_block(name, &blocks))
            }
        }
        p.note { "Each layer counts once, whatever its size." }
    }
}

#[expect(clippy::cast_precision_loss, reason = "layers of a model are few")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn by_kind(kinds: &[(&str, f64)]) -> Markup {
    let values = kinds.iter().map(|it| it.1);
    let largest = values.fold(f64::MIN_POSITIVE, f64::max);
    bars::table(kinds.iter().map(|(kind, value)| Bar {
        name: kind_words(kind),
        percent: value / largest * 100.0,
        value: number(*value),
    }))
}

fn by_block(name: &str, blocks: &[(u32, f64)]) -> Markup {
    let largest = blocks.iter().map(|it| it.1).fold(0.0, f64::max);
    let axis = Axis::over((0.0, if largest > 0.0 { largest } else { 1.0 }), 4);
    let last = blocks.iter().map(|it| it.0).max().unwrap_or(0);
    let step = (WIDTH - LEFT - RIGHT) / (f64::from(last) + 1.0);
    let floor = HEIGHT - BOTTOM;
    let tall = |value: f64| axis.share(value) * (floor - TOP);
    let every = (last / 8 + 1).next_multiple_of(if last > 8 { 5 } else { 1 });
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
            aria-label={ "mean " (name) " by block" }
        {
            @for tick in &axis.ticks {
                @let at = floor - tall(*tick);
                path.grid d=(format_args!("M{LEFT} {at:.1}H{}", WIDTH - RIGHT)) {}
                text.y x=(LEFT - 6.0) y=(tenths(at + 4.0)) { (tick_words(*tick)) }
            }
            @for (block_idx, value) in blocks {
                @let left = LEFT + f64::from(*block_idx) * step;
                @let height = tall(*value).max(0.5);
                rect.column x=(tenths(left + step * 0.12)) y=(tenths(floor - height))
                    width=(tenths(step * 0.76)) height=(tenths(height))
                {
                    title { "block " (block_idx) ": " (number(*value)) }
                }
            }
            @for block_idx in (0..=last).step_by(every as usize) {
                text.x x=(tenths(LEFT + (f64::from(block_idx) + 0.5) * step)) y=(floor + 15.0) {
                    (block_idx)
                }
            }
            text.x.name x=(LEFT + (WIDTH - LEFT - RIGHT) / 2.0) y=(HEIGHT - 6.0) { "block" }
        }
    }
}

/// A coordinate with one digit.
fn tenths(value: f64) -> String {
    format!("{value:.1}")
}
