//! The looks of levels: one colour a method, deeper the more of a unit is left.

use std::fmt::Write as _;

use evopress_spec::Report;
use indexmap::IndexMap;

use super::text::escape;
use crate::names::{Level, Meaning, kind_words, split};

/// Colours that the style has for methods; more methods begin anew.
const NUM_HUES: usize = 4;

/// The levels of a report in order, so that all its pictures agree.
pub(super) struct Scale<'a> {
    levels: Vec<&'a str>,
    methods: Vec<Option<&'a str>>,
}

impl<'a> Scale<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let all = report.baselines.iter().map(|it| &it.genotype);
        let mut levels: Vec<&str> = std::iter::once(&report.genotype)
            .chain(all)
            .flat_map(|genotype| genotype.values())
            .map(String::as_str)
            .collect();
        levels.sort_by(|a, b| Level::read(a).cmp(&Level::read(b)));
        levels.dedup();
        let shaded = levels.iter().copied().filter(|level| is_shaded(level));
        let mut methods: Vec<_> = shaded.map(|level| Level::read(level).method).collect();
        methods.dedup();
        Self { levels, methods }
    }

    /// Attributes of a shape, and the class of text upon it.
    pub(super) fn look(&self, level: &str) -> (String, &'static str) {
        let read = Level::read(level);
        match read.meaning {
            Meaning::Kept if self.methods.is_empty() => {
                return ("class=\"kept\"".to_owned(), "on-deep");
            }
            Meaning::Kept => return ("class=\"intact\"".to_owned(), "on-deep"),
            Meaning::Dropped => return ("class=\"dropped\"".to_owned(), "on-pale"),
            _ => {}
        }
        let of_method = |it: &&&str| is_shaded(it) && Level::read(it).method == read.method;
        let strength = |it: &str| Level::read(it).meaning.share_left();
        let mut same: Vec<f64> = self
            .levels
            .iter()
            .filter(of_method)
            .map(|it| strength(it))
            .collect();
        same.dedup();
        let rank = same.iter().position(|it| *it == strength(level));
        let rank = rank.unwrap_or(0);
        let percent = match same.len() {
            0 | 1 => 70,
            count => 12 + 88 * rank / (count - 1),
        };
        let hue = self.methods.iter().position(|it| *it == read.method);
        let hue = hue.unwrap_or(0) % NUM_HUES;
        let text = if percent > 55 { "on-deep" } else { "on-pale" };
        (
            format!("class=\"scale hue-{hue}\" style=\"--depth:{percent}%\""),
            text,
        )
    }

    /// The levels of the result with their numbers of units, and what is dropped of each kind.
    pub(super) fn legend(&self, genotype: &IndexMap<String, String>) -> String {
        let mut html = String::from("<p class=\"legend\">");
        let mut counts: IndexMap<&str, usize> = self.levels.iter().map(|it| (*it, 0)).collect();
        for level in genotype.values() {
            *counts.entry(level).or_default() += 1;
        }
        for (level, count) in &counts {
            let (look, _) = self.look(level);
            let _ = write!(
                html,
                "<span><svg viewBox=\"0 0 14 14\"><rect {look} x=\"1\" y=\"1\" width=\"12\" height=\"12\" rx=\"2\"/></svg> {} \
                 <small>× {count}</small></span> ",
                escape(level),
            );
        }
        let mut meanings = genotype.values().map(|level| Level::read(level).meaning);
        if meanings.any(|it| matches!(it, Meaning::Sparsity(_))) {
            html.push_str("· in the cells: percent of zeros ");
        }
        if self.methods.is_empty() {
            html.push_str(&dropped_by_kind(genotype));
        }
        html.push_str("</p>\n");
        html
    }
}

/// Neither kept nor gone: those two have a look of their own.
fn is_shaded(level: &str) -> bool {
    !matches!(Level::read(level).meaning, Meaning::Kept | Meaning::Dropped)
}

fn dropped_by_kind(genotype: &IndexMap<String, String>) -> String {
    let mut dropped: IndexMap<&str, usize> = IndexMap::new();
    for (unit, level) in genotype {
        if let Some((_, kind)) = split(unit) {
            let is_gone = Level::read(level).meaning == Meaning::Dropped;
            *dropped.entry(kind).or_default() += usize::from(is_gone);
        }
    }
    if dropped.len() < 2 {
        return String::new();
    }
    let gone = dropped.iter().filter(|(_, count)| **count > 0);
    gone.map(|(kind, count)| format!("· {count} {} dropped ", escape(kind_words(kind))))
        .collect()
}
