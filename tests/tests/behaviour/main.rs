//! What the real programs do, end to end, on a tiny random model and, where it takes a real one, on
//! SmolLM2.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod artifact;
mod badinput;
mod budget;
mod daemon;
mod databases;
mod depth;
mod experts;
mod families;
mod fast;
mod files;
mod gates;
mod gguf;
mod levels;
mod memory;
mod packed;
mod pipelines;
mod real_models;
mod resume;
mod snippets;
mod sources;
