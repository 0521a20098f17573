//! evopressd: watches a folder of pipeline specs, runs each in a worker process, publishes what
//! comes out.
//!
//! ```text
//! watch ── file ──▶ intake ── run ──▶ journal ◀── supervise ── child ──▶ evopress-worker
//!                  (check,            (SQLite)    (retries,  ◀─ events.jsonl ─┘
//!                   identity)             ▲        drain)  ── model ──▶ publish
//!                                    http, metrics, progress
//! ```
//! This process never loads a plugin and never touches libtorch: whatever a run does can cost one
//! attempt of that run.

pub mod config;
pub mod http;
pub mod intake;
pub mod journal;
pub mod metrics;
pub mod progress;
pub mod publish;
pub mod state_dir;
pub mod stop;
pub mod supervise;
pub mod watch;
pub mod worker_process;
