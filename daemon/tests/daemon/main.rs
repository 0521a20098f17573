//! The daemon as a process, with a fake worker in place of the real one: what it does with files,
//! deaths and registries.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod cli;
mod drain;
mod http;
mod pending;
mod publishing;
mod recovery;
mod rejection;
mod retries;
mod sources;
mod support;
mod watching;
