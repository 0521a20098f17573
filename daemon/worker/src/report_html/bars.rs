//! Horizontal bars, one a row of a table.

use std::borrow::Cow;
use std::collections::BTreeMap;

use evopress_spec::Stage;
use maud::{Markup, html};

use super::text::duration;

/// A bar: its name, its length as a share of the longest, and its value in words.
pub(super) struct Bar<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) percent: f64,
    pub(super) value: String,
}

/// Bars below each other.
pub(super) fn table<'a>(bars: impl Iterator<Item = Bar<'a>>) -> Markup {
    html! {
        table.bars {
            tbody {
                @for bar in bars {
                    tr {
                        th { (bar.name) }
                        td.bar { span style=(format_args!("width:{:.1}%", bar.percent)) {} }
                        td { (bar.value) }
                    }
                }
            }
        }
    }
}

/// One bar a stage, in the order of the run; nothing where no stage took time.
pub(super) fn timings(timings: &BTreeMap<Stage, f64>) -> Option<Markup> {
    let seconds = timings.values().copied();
    let longest = seconds.filter(|it| it.is_finite()).fold(0.0, f64::max);
    let bars = timings.iter().map(|(stage, seconds)| Bar {
        name: stage.as_str().into(),
        percent: match seconds.is_finite() {
            true => (seconds / longest * 100.0).clamp(0.2, 100.0),
            false => 0.0,
        },
        value: duration(*seconds),
    });
    (longest > 0.0).then(|| table(bars))
}
