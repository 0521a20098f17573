//! Events of a run: `events.jsonl`, one JSON object a line, appended by the worker and tailed by
//! everyone else.

mod reader;
mod writer;

use std::fmt;

use evopress_core::time::now;
use serde::{Deserialize, Serialize};

use crate::number::f64_or_null;

pub use reader::Reader;
pub use writer::Writer;

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When: RFC 3339, UTC, milliseconds.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// An event of this very moment.
    pub fn now(kind: EventKind) -> Event {
        Event { time: now(), kind }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A worker began or resumed the run.
    Started {
        /// Counted from 1.
        attempt: u32,
        /// The device that the run computes on.
        device: String,
        /// The number format.
        dtype: String,
        /// Threads of the worker.
        threads: u32,
        /// The last generation of the checkpoint it resumes from.
        resumed_generation: Option<u32>,
    },
    /// A stage began.
    StageStarted {
        /// The stage.
        stage: Stage,
    },
    /// A stage ended.
    StageFinished {
        /// The stage.
        stage: Stage,
        /// Its wall time.
        seconds: f64,
        /// Whether its output was there already.
        reused: bool,
    },
    /// Part of a stage is done.
    Progress {
        /// The stage.
        stage: Stage,
        /// How much is done.
        done: u64,
        /// Of how much.
        total: u64,
        /// Of what: `sequences`, `layers`, `MiB`.
        unit: String,
    },
    /// A generation of the search is done; counts are cumulative over the run.
    Generation {
        /// Counted from 1.
        generation: u32,
        /// How many there will be.
        generations: u32,
        /// Fitness of the best so far, lower is better.
        #[serde(deserialize_with = "f64_or_null")]
        best_fitness: f64,
        /// Whether an offspring took the parent's place.
        accepted: bool,
        /// Tokens forward since the search began.
        forward_tokens: u64,
        /// Seconds since the search began.
        search_seconds: f64,
        /// KL divergence of the best on a few sequences of held-out text, where it was measured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_out: Option<f64>,
    },
    /// A baseline was measured on the first evaluation set.
    Baseline {
        /// Its name.
        name: String,
        /// Its KL divergence to the dense model, in nats a token.
        #[serde(deserialize_with = "f64_or_null")]
        kl_divergence: f64,
        /// Its perplexity.
        #[serde(deserialize_with = "f64_or_null")]
        perplexity: f64,
    },
    /// Something that the user should know.
    Warning {
        /// A sentence.
        message: String,
    },
    /// The worker has finished; `done` or `gate_failed`.
    Finished {
        /// How it ended.
        status: Status,
    },
    /// The run has failed.
    Failed {
        /// A sentence.
        reason: String,
    },
    /// The worker was asked to stop, and can be resumed.
    Interrupted {
        /// The last generation of the checkpoint.
        generation: Option<u32>,
    },
}

/// A stage of a run, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The model is read.
    Load,
    /// Levels of the model's layers are made, or found in the cache.
    Database,
    /// Calibration text is tokenized, dense targets are computed.
    Calibrate,
    /// Random genotypes compete for the first parent.
    Initial,
    /// Generations.
    Search,
    /// Baselines are made.
    Baselines,
    /// The winner is written.
    Stitch,
    /// The artifact is loaded again and measured.
    Evaluate,
    /// The artifact goes to registries.
    Publish,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Stage; 9] = [
        Stage::Load,
        Stage::Database,
        Stage::Calibrate,
        Stage::Initial,
        Stage::Search,
        Stage::Baselines,
        Stage::Stitch,
        Stage::Evaluate,
        Stage::Publish,
    ];

    /// Its name in events, metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Load => "load",
            Stage::Database => "database",
            Stage::Calibrate => "calibrate",
            Stage::Initial => "initial",
            Stage::Search => "search",
            Stage::Baselines => "baselines",
            Stage::Stitch => "stitch",
            Stage::Evaluate => "evaluate",
            Stage::Publish => "publish",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The model is written, measured and published.
    Done,
    /// The model is written and measured, and breaks a quality gate.
    GateFailed,
    /// There is no model.
    Failed,
}

impl Status {
    /// Its name in events, metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::GateFailed => "gate_failed",
            Status::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
