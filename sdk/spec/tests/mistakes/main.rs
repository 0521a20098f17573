//! The words of mistakes, each with its place.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accepted;
mod limits;
mod places;
mod sentences;
mod support;
