//! A genotype as a picture: a column for each block, a row for each kind of unit, a cell's colour
//! its level. Experts, which are many, have a picture of their own ([`super::experts`]).

use std::collections::BTreeMap;

use evopress_spec::{BaselineResult, Report};
use indexmap::IndexMap;
use maud::{Markup, html};

use super::columns::{CELL, LABEL, by_block};
use super::scale::Scale;
use super::{experts, means};
use crate::names::{ByKind, Level, kind_words, only_drops};

const ROW: f64 = 24.0;

/// The result's picture, and the baselines' below it; nothing without a genotype.
pub(super) fn pictures(report: &Report) -> Option<Markup> {
    let scale = Scale::of(report);
    let others = report.baselines.iter();
    let others: Vec<&BaselineResult> = others.filter(|it| !it.genotype.is_empty()).collect();
    // Two rows each can be seen at a glance; seven rows each are for those who ask.
    let is_open = only_drops(&report.genotype);
    let pictures = || {
        html! {
            (picture("EvoPress", &report.genotype, &scale))
            (scale.legend(&report.genotype))
            (means::charts(report))
            @if !others.is_empty() {
                details open[is_open] {
                    summary { "The baselines' choice" }
                    @for it in &others {
                        h3 { (it.name) }
                        (picture(&it.name, &it.genotype, &scale))
                    }
                }
            }
        }
    };
    (!report.genotype.is_empty()).then(pictures)
}

fn picture(name: &str, genotype: &IndexMap<String, String>, scale: &Scale<'_>) -> Markup {
    let units = ByKind::of(genotype);
    html! {
        @if !units.kinds.is_empty() {
            (grid(name, &units, scale))
        }
        @if !units.experts.is_empty() {
            (experts::heat_map(name, &units, scale))
        }
        @if !units.elsewhere.is_empty() {
            p {
                @for (idx, (unit, level)) in units.elsewhere.iter().enumerate() {
                    @if idx > 0 { ", " }
                    code { (unit) } ": " (level)
                }
            }
        }
    }
}

fn grid(name: &str, units: &ByKind<'_>, scale: &Scale<'_>) -> Markup {
    let num_blocks = units.num_blocks;
    let num_rows = u32::try_from(units.kinds.len()).unwrap_or(u32::MAX);
    let bottom = f64::from(num_rows) * ROW;
    let rows = units.kinds.iter().zip(0u32..);
    let rows = html! {
        @for ((kind, row), row_idx) in rows {
            @let top = f64::from(row_idx) * ROW;
            text.y x=(LABEL - 8.0) y=(top + 16.0) { (kind_words(kind)) }
            (cells(row, top, scale))
        }
    };
    by_block(&format!("levels of {name}"), num_blocks, bottom, &rows)
}

/// The units of one kind, by block.
fn cells(row: &BTreeMap<u32, (&str, &str)>, top: f64, scale: &Scale<'_>) -> Markup {
    html! {
        @for (block_idx, (unit, level)) in row {
            @let left = LABEL + f64::from(*block_idx) * CELL;
            @let paint = scale.paint(level);
            @let short = Level::read(level).short();
            rect class=(paint.class) style=[&paint.style] x=(left + 1.0) y=(top + 1.0)
                width=(CELL - 2.0) height=(ROW - 2.0) rx="3"
            {
                title { (unit) ": " (level) }
            }
            @if !short.is_empty() {
                text class={ "x cell " (paint.text_class) } x=(left + CELL / 2.0) y=(top + 15.5) {
                    (short)
                }
            }
        }
    }
}
