//! What a person is told.

use std::fmt::Display;

/// Longer than this no message is read to its end, in bytes.
const LONGEST: usize = 10_000;
/// Parts of what libtorch and Rust print of where an error arose.
const TRACES: [&str; 3] = ["Exception raised from", "frame #0", "stack backtrace:"];

/// What came, if it came; the message is looked at otherwise.
///
/// # Panics
/// When the message is no sentence that a person can use.
pub(crate) fn checked<T, E: Display>(result: Result<T, E>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    check(&error.to_string());
    None
}

/// Looks at a message.
///
/// # Panics
/// As [`checked`].
pub(crate) fn check(message: &str) {
    assert!(
        message.len() <= LONGEST,
        "a message of {} bytes: {}",
        message.len(),
        message.chars().take(500).collect::<String>()
    );
    assert!(!message.trim().is_empty(), "an empty message");
    let trace = TRACES.iter().find(|trace| message.contains(**trace));
    assert!(trace.is_none(), "a message with a trace: {message}");
}
