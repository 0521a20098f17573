//! The colours of levels: one hue for each method, deeper the more of a unit is left.

use std::borrow::Cow;
use std::collections::BTreeSet;

use evopress_spec::Report;
use indexmap::IndexMap;
use maud::{Markup, html};

use crate::names::{Level, Meaning, common_kind, kind_words, split};

/// Hues that the style has for methods; further methods begin again with the first.
const NUM_HUES: usize = 4;

/// How a unit is painted, and the text upon it.
pub(super) struct Paint {
    pub(super) class: String,
    pub(super) style: Option<String>,
    pub(super) text_class: &'static str,
}

/// The levels of a report in order, so that all its pictures agree.
pub(super) struct Scale<'a> {
    levels: Vec<&'a str>,
    methods: Vec<Option<&'a str>>,
}

impl<'a> Scale<'a> {
    /// Those of the result and of the baselines.
    pub(super) fn of(report: &'a Report) -> Self {
        let all = report.baselines.iter().map(|it| &it.genotype);
        let levels: BTreeSet<&str> = std::iter::once(&report.genotype)
            .chain(all)
            .flat_map(|genotype| genotype.values())
            .map(String::as_str)
            .collect();
        let mut levels: Vec<&str> = levels.into_iter().collect();
        levels.sort_by(|a, b| Level::read(a).cmp(&Level::read(b)));
        let shaded = levels.iter().copied().filter(|level| is_shaded(level));
        let mut methods: Vec<_> = shaded.map(|level| Level::read(level).method).collect();
        methods.dedup();
        Self { levels, methods }
    }

    /// How a unit at this level is painted.
    pub(super) fn paint(&self, level: &str) -> Paint {
        let read = Level::read(level);
        let plain = |class: &str, text_class| Paint {
            class: class.to_owned(),
            style: None,
            text_class,
        };
        match read.meaning {
            Meaning::Kept if self.methods.is_empty() => return plain("kept", "on-deep"),
            Meaning::Kept => return plain("intact", "on-deep"),
            Meaning::Dropped => return plain("dropped", "on-pale"),
            _ => {}
        }
        shaded(self.hue(&read), self.depth(level))
    }

    /// How something at several levels is painted: as deep as they are on average, in the first
    /// one's hue. None where it is dropped.
    pub(super) fn paint_all(&self, levels: &[&str]) -> Option<Paint> {
        let is_dropped = |level: &&str| Level::read(level).meaning == Meaning::Dropped;
        if levels.iter().any(is_dropped) {
            return None;
        }
        let depths = levels.iter().filter(|level| is_shaded(level));
        let depths: Vec<usize> = depths.map(|level| self.depth(level)).collect();
        let first = levels.iter().find(|level| is_shaded(level));
        match first {
            Some(first) => {
                let depth = depths.iter().sum::<usize>() / depths.len();
                Some(shaded(self.hue(&Level::read(first)), depth))
            }
            None => levels.first().map(|level| self.paint(level)),
        }
    }

    /// The hue of a level's method.
    fn hue(&self, level: &Level<'_>) -> usize {
        let at = self.methods.iter().position(|it| *it == level.method);
        at.unwrap_or(0) % NUM_HUES
    }

    /// How deep a level is among those of its method, in percent.
    fn depth(&self, level: &str) -> usize {
        let read = Level::read(level);
        let of_method = |it: &&&str| is_shaded(it) && Level::read(it).method == read.method;
        let strength = |it: &str| Level::read(it).meaning.share_left();
        let levels = self.levels.iter().filter(of_method);
        let mut strengths: Vec<f64> = levels.map(|it| strength(it)).collect();
        strengths.dedup();
        let rank = strengths.iter().position(|it| *it == strength(level));
        let rank = rank.unwrap_or(0);
        match strengths.len() {
            0 | 1 => 70,
            count => 12 + 88 * rank / (count - 1),
        }
    }

    /// The levels of the result with their numbers of units, and what is dropped of each kind.
    pub(super) fn legend(&self, genotype: &IndexMap<String, String>) -> Markup {
        let mut counts: IndexMap<&str, usize> = self.levels.iter().map(|it| (*it, 0)).collect();
        for level in genotype.values() {
            *counts.entry(level).or_default() += 1;
        }
        let mut meanings = genotype.values().map(|level| Level::read(level).meaning);
        let has_zeros = meanings.any(|it| matches!(it, Meaning::Sparsity(_)));
        html! {
            p.legend {
                @for (level, count) in &counts {
                    @let paint = self.paint(level);
                    span {
                        svg viewBox="0 0 14 14" {
                            rect class=(paint.class) style=[&paint.style] x="1" y="1" width="12"
                                height="12" rx="2" {}
                        }
                        " " (level) " " small { "× " (count) }
                    }
                    " "
                }
                @if has_zeros { "· in the cells: percent of zeros " }
                @if self.methods.is_empty() { (dropped_by_kind(genotype)) }
            }
        }
    }
}

fn shaded(hue: usize, depth: usize) -> Paint {
    Paint {
        class: format!("scale hue-{hue}"),
        style: Some(format!("--depth:{depth}%")),
        text_class: if depth > 55 { "on-deep" } else { "on-pale" },
    }
}

/// Neither kept nor dropped: those two have colours of their own.
fn is_shaded(level: &str) -> bool {
    !matches!(Level::read(level).meaning, Meaning::Kept | Meaning::Dropped)
}

fn dropped_by_kind(genotype: &IndexMap<String, String>) -> String {
    let mut dropped: IndexMap<Cow<'_, str>, usize> = IndexMap::new();
    for (unit, level) in genotype {
        if let Some((_, kind)) = split(unit) {
            let is_gone = Level::read(level).meaning == Meaning::Dropped;
            *dropped.entry(common_kind(kind)).or_default() += usize::from(is_gone);
        }
    }
    if dropped.len() < 2 {
        return String::new();
    }
    let gone = dropped.iter().filter(|(_, count)| **count > 0);
    gone.map(|(kind, count)| format!("· {count} {} dropped ", kind_words(kind)))
        .collect()
}
