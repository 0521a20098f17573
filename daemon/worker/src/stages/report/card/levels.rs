//! The levels of a genotype, a section of the model card.

use std::fmt::Write;

use evopress_spec::Report;
use indexmap::IndexMap;

use crate::names::{ByKind, Level, Meaning, kind_words, only_drops, split, split_expert};

/// Which level each unit has.
pub(super) fn section(report: &Report) -> String {
    match only_drops(&report.genotype) {
        true => left_out(report),
        false => table(report),
    }
}

/// What the levels of the genotype mean.
pub(super) fn meanings(report: &Report) -> impl Iterator<Item = Meaning> {
    let levels = report.genotype.values();
    levels.map(|level| Level::read(level).meaning)
}

/// What was left out, one unit a line; the experts of a block have one together.
fn left_out(report: &Report) -> String {
    let mut text = String::from("\n## What was left out\n\n");
    let mut experts: IndexMap<u32, Vec<String>> = IndexMap::new();
    let dropped = report.genotype.iter().filter(|(_, level)| *level != "keep");
    for (unit, level) in dropped {
        let place = split(unit);
        match place.and_then(|(block_idx, kind)| Some((block_idx, split_expert(kind)?))) {
            Some((block_idx, (_, expert, _))) => {
                let of_block = experts.entry(block_idx).or_default();
                of_block.push(expert.to_string());
            }
            None => {
                let _ = writeln!(text, "- `{unit}`: {level}");
            }
        }
    }
    for (block_idx, numbers) in &experts {
        let _ = writeln!(
            text,
            "- experts of block {block_idx}: {}",
            numbers.join(", ")
        );
    }
    text.push('\n');
    text.push_str(match experts.is_empty() {
        true => ABOUT_DROPPED,
        false => ABOUT_EXPERTS,
    });
    text
}

const ABOUT_EXPERTS: &str = "Experts are numbered as in the dense model. Those that are left have moved up, and the routers have no rows for the others: \
     files are smaller, and every runtime holds less in memory.\n";

const ABOUT_DROPPED: &str = "Units are named as in the dense model. Blocks that are dropped whole are gone and the others renumbered; a sub-block that \
     is dropped alone adds nothing. [Loading](#loading) says which runtimes are faster for it.\n";

/// A row a block, a column a kind of unit, a cell its level. Experts have one column: how many
/// units are at each level.
fn table(report: &Report) -> String {
    let units = ByKind::of(&report.genotype);
    let mut text = String::from("\n## Levels\n\nThe level of each unit, block by block: ");
    text.push_str(
        match meanings(report).find(|it| !matches!(it, Meaning::Kept | Meaning::Dropped)) {
            Some(Meaning::Bits(_)) => "how many bits a weight has.\n\n",
            Some(Meaning::Sparsity(_)) => "the share of its weights that are zero.\n\n",
            _ => "as the method names it.\n\n",
        },
    );
    text.push_str("| block |");
    for kind in units.kinds.keys() {
        let _ = write!(text, " {} |", kind_words(kind));
    }
    let has_experts = !units.experts.is_empty();
    if has_experts {
        text.push_str(" experts |");
    }
    let num_columns = units.kinds.len() + usize::from(has_experts);
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(num_columns));
    for block_idx in 0..units.num_blocks {
        let _ = write!(text, "| {block_idx} |");
        for row in units.kinds.values() {
            let level = row.get(&block_idx).map_or("", |(_, level)| level);
            let _ = write!(text, " {level} |");
        }
        if has_experts {
            let _ = write!(text, " {} |", of_experts(&units, block_idx));
        }
        text.push('\n');
    }
    for (unit, level) in &units.elsewhere {
        let _ = writeln!(text, "\n`{unit}`: {level}");
    }
    if meanings(report).any(|it| matches!(it, Meaning::Sparsity(_))) {
        text.push_str("\nThe zeros are stored as numbers: runtimes multiply with them, so the model is no faster than the dense one.\n");
    }
    if meanings(report).any(|it| it == Meaning::Dropped) {
        text.push('\n');
        text.push_str(ABOUT_DROPPED);
    }
    text
}

/// How many units of a block's experts are at each level: `2bit × 9, 3bit × 15`.
fn of_experts(units: &ByKind<'_>, block_idx: u32) -> String {
    let experts = units.experts.range((block_idx, 0)..=(block_idx, u32::MAX));
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    for level in experts.flat_map(|(_, levels)| levels) {
        *counts.entry(level).or_default() += 1;
    }
    counts.sort_by(|a, _, b, _| Level::read(a).cmp(&Level::read(b)));
    let counts = counts
        .iter()
        .map(|(level, count)| format!("{level} × {count}"));
    counts.collect::<Vec<_>>().join(", ")
}
