//! What the behaviour tests share: the real programs, scratch folders with specs, workers, daemons,
//! transformers.
//!
//! ```text
//! programs ── evopressd, evopress-worker, plugins ──▶ Scratch ── specs ──▶ run (one-shot) · Worker · Daemon
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

mod daemon;
mod markdown;
mod others;
mod places;
mod programs;
mod random_experts;
mod random_model;
mod scratch;
mod worker;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use daemon::Daemon;
pub use markdown::code_blocks;
pub use others::{
    debian, gguf, llama_cpp, llama_cpp_logits, nemotron_nas, node_output, packed, python_output,
    transformers, transformers_logits,
};
pub use places::{data_root, fixture, repository};
pub use programs::{Programs, programs};
pub use random_experts::{ExpertsShape, write_experts_model};
pub use random_model::{write_deep_model, write_wide_model};
pub use scratch::{Outcome, Scratch, smollm2, tiny, yaml};
pub use worker::Worker;

/// How long a test waits for what must come; far more than it takes.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `found` finds something.
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(it) = found() {
            return it;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A JSON file.
pub fn read_json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A report without what differs between two runs of the same: times, memory, places.
pub fn timeless(mut report: Value) -> Value {
    for field in ["timings", "peak_memory_bytes", "hardware"] {
        report[field].take();
    }
    for field in ["seconds", "switch_seconds"] {
        report["search"][field].take();
    }
    for database in report["databases"].as_array_mut().unwrap() {
        database["build_seconds"].take();
    }
    report["search"]["switch_seconds"].take();
    for entry in report["search"]["history"].as_array_mut().unwrap() {
        entry["seconds"].take();
    }
    for list in ["artifacts", "published"] {
        for entry in report[list].as_array_mut().unwrap() {
            entry["path"].take();
            entry["location"].take();
            if list == "published" {
                entry["digest"].take(); // its manifest has the time of publication
            }
        }
    }
    report
}

/// The units of a report's genotype that are dropped.
pub fn dropped(report: &Value) -> Vec<String> {
    let genotype = report["genotype"].as_object().unwrap();
    let dropped = genotype.iter().filter(|(_, level)| *level == "drop");
    dropped.map(|(unit, _)| unit.clone()).collect()
}
