//! Drawings of the search and of the stages' times.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use evopress_spec::{HistoryEntry, SearchResult, Stage};

use super::text::{as_f64, duration, number};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Fitness, and held-out text where it was looked at, over generations and over tokens; a search of which nothing is known draws nothing.
pub(super) fn search(search: &SearchResult) -> String {
    let by = |x: fn(&HistoryEntry) -> f64| -> Lines {
        let points = |y: fn(&HistoryEntry) -> Option<f64>| {
            let history = search.history.iter();
            let points = history.filter_map(|it| Some((x(it), y(it)?)));
            points.filter(|(_, y)| y.is_finite()).collect()
        };
        Lines {
            fitness: points(|it| Some(it.best_fitness)),
            held_out: points(|it| it.held_out),
        }
    };
    let generations = by(|it| f64::from(it.generation));
    if generations.fitness.is_empty() {
        return String::new();
    }
    let tokens = by(|it| as_f64(it.forward_tokens));
    let held_out = match generations.held_out.last() {
        Some((_, last)) => format!(
            " Dashed: the KL divergence on a few sequences of held-out text, which nothing is selected by; the last one is {}.",
            number(*last)
        ),
        None => String::new(),
    };
    format!(
        "<div class=\"charts\">\n{}{}</div>\n<p class=\"note\">Fitness of the parent after each generation, lower is better; \
         the last one is {}. It can rise where a generation draws other calibration tokens.{held_out}</p>\n",
        steps("generation", &generations),
        steps("tokens forward", &tokens),
        number(search.best_fitness),
    )
}

/// Points of a drawing.
struct Lines {
    fitness: Vec<(f64, f64)>,
    held_out: Vec<(f64, f64)>,
}

/// Step lines: a value holds until the next one is known.
fn steps(x_name: &str, lines: &Lines) -> String {
    let range = |value: fn(&(f64, f64)) -> f64| {
        let points = lines.fitness.iter().chain(&lines.held_out);
        points
            .map(value)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| {
                (low.min(it), high.max(it))
            })
    };
    let x = Axis::over(range(|it| it.0), 5);
    let y = Axis::over(range(|it| it.1), 5);
    let place = |(at_x, at_y): (f64, f64)| {
        let right = LEFT + x.share(at_x) * (WIDTH - LEFT - RIGHT);
        (right, TOP + (1.0 - y.share(at_y)) * (HEIGHT - TOP - BOTTOM))
    };

    let mut svg = format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"best fitness by {x_name}\">\n"
    );
    for tick in &y.ticks {
        let (_, at) = place((x.low, *tick));
        let end = WIDTH - RIGHT;
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{end}\"/><text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            tick_words(*tick),
        );
    }
    for tick in &x.ticks {
        let (at, _) = place((*tick, y.low));
        let _ = writeln!(
            svg,
            "<text class=\"x\" x=\"{at:.1}\" y=\"{}\">{}</text>",
            HEIGHT - BOTTOM + 16.0,
            tick_words(*tick)
        );
    }
    for (points, class) in [(&lines.held_out, "line held-out"), (&lines.fitness, "line")] {
        let mut path = String::new();
        for (idx, point) in points.iter().enumerate() {
            let (at_x, at_y) = place(*point);
            let _ = if idx == 0 {
                write!(path, "M{at_x:.1} {at_y:.1}")
            } else {
                write!(path, "H{at_x:.1}V{at_y:.1}")
            };
        }
        let Some(last) = points.last() else {
            continue;
        };
        let (at_x, at_y) = place(*last);
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"{path}\"/>\n<circle class=\"dot\" cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"3.5\"/>"
        );
    }
    let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
    let _ = writeln!(
        svg,
        "<text class=\"x name\" x=\"{middle}\" y=\"{}\">{x_name}</text>",
        HEIGHT - 6.0
    );
    svg.push_str("</svg></figure>\n");
    svg
}

/// An axis with round ticks that covers a range.
pub(super) struct Axis {
    low: f64,
    high: f64,
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    pub(super) fn over((low, high): (f64, f64), num_ticks: u32) -> Self {
        let span = if high > low {
            high - low
        } else {
            high.abs().max(1e-9)
        };
        let rough = span / f64::from(num_ticks);
        let scale = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|it| it * scale)
            .find(|it| *it >= rough)
            .unwrap_or(rough);
        let low = (low / step).floor() * step;
        let high = (high / step).ceil() * step;
        let high = if high > low { high } else { low + step };
        // Counted from whole steps, so that the sum's rounding never shows.
        let ticks = (0..=32u32)
            .map(|idx| low + f64::from(idx) * step)
            .take_while(|it| *it <= high + step / 2.0)
            .collect();
        Self { low, high, ticks }
    }

    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// `1.5M`, `20`, `0.75`.
pub(super) fn tick_words(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = format!("{value:.4}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if digits == "-0" { "0" } else { digits })
}

/// One bar a stage, in the order of the run.
pub(super) fn timings(timings: &BTreeMap<Stage, f64>) -> String {
    let longest = timings
        .values()
        .copied()
        .filter(|it| it.is_finite())
        .fold(0.0, f64::max);
    if longest <= 0.0 {
        return String::new();
    }
    let mut html = String::from("<table class=\"bars\">\n<tbody>\n");
    for (stage, seconds) in timings {
        let width = if seconds.is_finite() {
            (seconds / longest * 100.0).clamp(0.2, 100.0)
        } else {
            0.0
        };
        let _ = writeln!(
            html,
            "<tr><th>{}</th><td class=\"bar\"><span style=\"width:{width:.1}%\"></span></td><td>{}</td></tr>",
            stage.as_str(),
            duration(*seconds),
        );
    }
    html.push_str("</tbody>\n</table>\n");
    html
}
