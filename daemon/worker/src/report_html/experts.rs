//! Experts as a heat map: a column for each block, a row for each expert, a cell as deep as the
//! expert's layers are on average. One path for each depth, so that a page stays small with
//! thousands of experts.

use std::fmt::Write;

use indexmap::IndexMap;
use maud::{Markup, html};

use super::columns::{CELL, LABEL, by_block};
use super::scale::{Paint, Scale};
use crate::names::ByKind;

/// Height of the map, about.
const HEIGHT: u32 = 448;
/// Room above it for half of the first label.
const TOP: u32 = 5;
/// Labels beside it, about.
const NUM_LABELS: u32 = 8;

/// The experts of a genotype.
pub(super) fn heat_map(name: &str, units: &ByKind<'_>, scale: &Scale<'_>) -> Markup {
    let last = units.experts.keys().map(|(_, expert)| *expert).max();
    let num_experts = last.map_or(0, |last| last.saturating_add(1));
    let row = (HEIGHT / num_experts.max(1)).clamp(2, 14);
    let every = num_experts.div_ceil(NUM_LABELS).next_power_of_two();
    let drawn = html! {
        @for expert in (0..num_experts).step_by(every as usize) {
            @let middle = f64::from(TOP + expert * row) + f64::from(row) / 2.0;
            text.y x=(LABEL - 8.0) y=(middle + 4.0) { "expert " (expert) }
        }
        @for (path, paint) in paths(units, scale, row) {
            path class=(paint.class) style=[&paint.style] d=(path) {}
        }
    };
    let bottom = f64::from(TOP + num_experts * row);
    html! {
        (by_block(&format!("levels of the experts of {name}"), units.num_blocks, bottom, &drawn))
        p.note {
            "A row for each expert: the deeper, the more is left of its layers on average; nothing "
            "where it is left out. " code { "report.json" } " has the level of each layer."
        }
    }
}

/// All cells of one paint in one path, a cell for neighbours that are alike.
fn paths(units: &ByKind<'_>, scale: &Scale<'_>, row: u32) -> Vec<(String, Paint)> {
    let mut paths: IndexMap<(String, Option<String>), (String, Paint)> = IndexMap::new();
    let mut experts = units.experts.iter().peekable();
    let key = |paint: &Paint| (paint.class.clone(), paint.style.clone());
    while let Some((&(block_idx, first), levels)) = experts.next() {
        let Some(paint) = scale.paint_all(levels) else {
            continue;
        };
        let mut end = first + 1;
        let is_alike = |(place, levels): &(&(u32, u32), &Vec<&str>), end: u32| {
            let other = scale.paint_all(levels);
            **place == (block_idx, end) && other.is_some_and(|it| key(&it) == key(&paint))
        };
        while experts.next_if(|next| is_alike(next, end)).is_some() {
            end += 1;
        }
        let (left, width) = (LABEL + f64::from(block_idx) * CELL + 1.0, CELL - 2.0);
        let (top, height) = (TOP + first * row, (end - first) * row);
        let (path, _) = paths
            .entry(key(&paint))
            .or_insert_with(|| (String::new(), paint));
        // Writing into a string cannot fail.
        let _ = write!(path, "M{left} {top}h{width}v{height}h-{width}z");
    }
    paths.into_values().collect()
}
