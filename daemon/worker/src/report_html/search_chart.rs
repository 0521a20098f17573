//! Drawings of a search: fitness by generation and by tokens.

use std::fmt::Write as _;

use evopress_spec::{HistoryEntry, SearchResult};
use maud::{Markup, html};

use super::axis::{Axis, tick_words};
use super::text::{as_f64, number};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Fitness, and held-out text where it was measured, over generations and over tokens; nothing for
/// a search of which nothing is known.
pub(super) fn charts(search: &SearchResult) -> Option<Markup> {
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
    let tokens = by(|it| as_f64(it.forward_tokens));
    let charts = || {
        html! {
            div.charts {
                (chart("generation", &generations))
                (chart("tokens forward", &tokens))
            }
            p.note {
                "Fitness of the parent after each generation, lower is better; the last one is "
                (number(search.best_fitness))
                ". It can rise where a generation draws other calibration tokens."
                @if let Some((_, last)) = generations.held_out.last() {
                    " Dashed: the KL divergence on a few sequences of held-out text, which nothing \
                     is selected by; the last one is " (number(*last)) "."
                }
            }
        }
    };
    (!generations.fitness.is_empty()).then(charts)
}

/// Points of a drawing.
struct Lines {
    fitness: Vec<(f64, f64)>,
    held_out: Vec<(f64, f64)>,
}

impl Lines {
    /// The lowest and the highest value of all points.
    fn range(&self, value: fn(&(f64, f64)) -> f64) -> (f64, f64) {
        let points = self.fitness.iter().chain(&self.held_out).map(value);
        points.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| {
            (low.min(it), high.max(it))
        })
    }
}

/// Step lines: a value holds until the next one is known.
fn chart(x_name: &str, lines: &Lines) -> Markup {
    let x = Axis::over(lines.range(|it| it.0), 5);
    let y = Axis::over(lines.range(|it| it.1), 5);
    let place = |(at_x, at_y): (f64, f64)| {
        let right = LEFT + x.share(at_x) * (WIDTH - LEFT - RIGHT);
        (right, TOP + (1.0 - y.share(at_y)) * (HEIGHT - TOP - BOTTOM))
    };
    html! {
        figure {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                aria-label={ "best fitness by " (x_name) }
            {
                @for tick in &y.ticks {
                    @let at = place((x.low, *tick)).1;
                    path.grid d=(format_args!("M{LEFT} {at:.1}H{}", WIDTH - RIGHT)) {}
                    text.y x=(LEFT - 6.0) y=(format_args!("{:.1}", at + 4.0)) { (tick_words(*tick)) }
                }
                @for tick in &x.ticks {
                    @let at = place((*tick, y.low)).0;
                    text.x x=(format_args!("{at:.1}")) y=(HEIGHT - BOTTOM + 16.0) {
                        (tick_words(*tick))
                    }
                }
                (line("line held-out", lines.held_out.iter().map(|it| place(*it))))
                (line("line", lines.fitness.iter().map(|it| place(*it))))
                text.x.name x=(LEFT + (WIDTH - LEFT - RIGHT) / 2.0) y=(HEIGHT - 6.0) { (x_name) }
            }
        }
    }
}

/// A step line with a dot at its end; nothing without points.
fn line(class: &str, points: impl Iterator<Item = (f64, f64)>) -> Markup {
    let mut path = String::new();
    let mut last = None;
    for (x, y) in points {
        // Writing to a String cannot fail.
        let _ = match last {
            None => write!(path, "M{x:.1} {y:.1}"),
            Some(_) => write!(path, "H{x:.1}V{y:.1}"),
        };
        last = Some((x, y));
    }
    html! {
        @if let Some((x, y)) = last {
            path class=(class) d=(path) {}
            circle.dot cx=(format_args!("{x:.1}")) cy=(format_args!("{y:.1}")) r="3.5" {}
        }
    }
}
