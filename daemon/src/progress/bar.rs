//! What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere.

use std::io::Write;
use std::time::{Duration, Instant};

use evopress_spec::Stage;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Live;
use super::format::duration;
use crate::journal::RunState;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewKind {
    /// A bar that moves.
    Bar,
    /// Lines, for logs.
    Lines,
}

/// The view of one run, on stderr: stdout is for results.
#[derive(Debug)]
pub struct View {
    kind: ViewKind,
    bar: ProgressBar,
    last_line: Option<(Instant, Headline)>,
    num_warnings: usize,
}

/// When this changes, a line is printed at once.
type Headline = (RunState, Option<Stage>);

/// Between lines that say that a stage goes on.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The message has its least important part last: a terminal of 80 columns cuts it off.
const TEMPLATE: &str = "{prefix:>9.cyan.bold} [{bar:16.cyan/blue}] {msg}";

impl View {
    /// A view on stderr.
    #[must_use]
    pub fn new(kind: ViewKind) -> Self {
        let bar = match kind {
            ViewKind::Bar => {
                ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr_with_hz(10))
            }
            ViewKind::Lines => ProgressBar::hidden(),
        };
        bar.set_style(
            ProgressStyle::with_template(TEMPLATE)
                .expect("the template is valid")
                .progress_chars("━╸─"),
        );
        Self {
            kind,
            bar,
            last_line: None,
            num_warnings: 0,
        }
    }

    /// Shows how far the run is.
    pub fn show(&mut self, state: RunState, attempt: u32, live: &Live) {
        for warning in live.warnings.iter().skip(self.num_warnings) {
            self.say(&format!("warning: {warning}"));
        }
        self.num_warnings = live.warnings.len();
        let (done, total) = position(state, live);
        let message = describe(state, attempt, live);
        let prefix = prefix(state, live);
        match self.kind {
            ViewKind::Bar => {
                self.bar.set_prefix(prefix);
                self.bar.set_length(total);
                self.bar.set_position(done);
                self.bar.set_message(message);
            }
            ViewKind::Lines => {
                let headline = (state, live.stage);
                let due = self
                    .last_line
                    .is_none_or(|(when, last)| last != headline || when.elapsed() >= LINE_EVERY);
                if due {
                    let separator = if message.is_empty() { "" } else { ": " };
                    self.say(&format!("{prefix}{separator}{message}"));
                    self.last_line = Some((Instant::now(), headline));
                }
            }
        }
    }

    /// Prints a line that stays.
    pub fn say(&self, line: &str) {
        // Nobody reads stderr any more: then nobody misses the line.
        let _ = self.bar.suspend(|| writeln!(std::io::stderr(), "{line}"));
    }

    /// Removes the bar.
    pub fn close(&self) {
        self.bar.finish_and_clear();
    }
}

fn prefix(state: RunState, live: &Live) -> String {
    match (state, live.stage) {
        (RunState::Running | RunState::Publishing, Some(stage)) => stage.to_string(),
        _ => state.to_string(),
    }
}

fn position(state: RunState, live: &Live) -> (u64, u64) {
    match (state, &live.progress) {
        (RunState::Queued, _) => (0, 1),
        (_, Some(progress)) => (progress.done, progress.total.max(1)),
        _ if live.stage == Some(Stage::Search) => {
            (live.generation.into(), live.generations.max(1).into())
        }
        _ => (0, 1),
    }
}

fn describe(state: RunState, attempt: u32, live: &Live) -> String {
    let mut parts = Vec::new();
    if state == RunState::Queued {
        parts.push("waiting for a free slot".to_owned());
    }
    if live.stage == Some(Stage::Search) {
        if live.generations == 0 && live.generation > 0 {
            parts.push(format!("generation {}", live.generation));
        }
        if live.generations > 0 {
            parts.push(format!(
                "generation {}/{}",
                live.generation, live.generations
            ));
        }
        if let Some(fitness) = live.best_fitness {
            parts.push(format!("fitness {fitness:.4}"));
        }
        if let Some(held_out) = live.held_out {
            parts.push(format!("held-out KL {held_out:.4}"));
        }
        if let Some(seconds) = live.search_seconds_left {
            parts.push(format!("{} left", duration(seconds)));
        }
        if let Some(speed) = live.forward_tokens_per_second {
            parts.push(format!("{speed:.0} tokens/s"));
        }
    } else if let Some(progress) = &live.progress {
        parts.push(format!(
            "{}/{} {}",
            progress.done, progress.total, progress.unit
        ));
        if let Some(seconds) = live.stage_seconds_left {
            parts.push(format!("{} left", duration(seconds)));
        }
    }
    if attempt > 1 {
        parts.push(format!("attempt {attempt}"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_says_how_many_layers_and_how_long() {
        let live = Live {
            stage: Some(Stage::Database),
            progress: Some(crate::progress::Progress {
                done: 70,
                total: 210,
                unit: "layers".to_owned(),
            }),
            stage_seconds_left: Some(754.0),
            ..Live::default()
        };
        assert_eq!(
            describe(RunState::Running, 1, &live),
            "70/210 layers, 12 min 34 s left"
        );
        assert_eq!(prefix(RunState::Running, &live), "database");
        assert_eq!(position(RunState::Running, &live), (70, 210));
    }

    #[test]
    fn a_search_says_how_far_it_is() {
        let live = Live {
            stage: Some(Stage::Search),
            generation: 3,
            generations: 107,
            best_fitness: Some(0.25),
            held_out: Some(0.375),
            forward_tokens_per_second: Some(4321.4),
            search_seconds_left: Some(125.2),
            ..Live::default()
        };
        let text = "generation 3/107, fitness 0.2500, held-out KL 0.3750, 2 min 05 s left, 4321 tokens/s, attempt 2";
        assert_eq!(describe(RunState::Running, 2, &live), text);
        assert_eq!(prefix(RunState::Running, &live), "search");
        assert_eq!(position(RunState::Running, &live), (3, 107));
        assert_eq!(
            describe(RunState::Queued, 1, &Live::default()),
            "waiting for a free slot"
        );
    }
}
