//! Typed reading of YAML. Only this module uses `serde_yaml`.

use serde_json::Value;

use crate::place::Position;
use crate::typed::Spec;

/// Reads a spec whose structure is known to be right.
///
/// # Errors
/// A sentence, and the place where the reader knows it.
pub(crate) fn read(text: &str) -> Result<Spec, (Position, String)> {
    serde_yaml::from_str(text).map_err(|error| {
        let at = error.location().map_or(Position::START, |l| Position {
            line: l.line(),
            column: l.column(),
        });
        (at, format!("this cannot be read: {error}"))
    })
}

/// The value of a plain (unquoted) scalar: a number, true, false, nothing, or text. Numbers that
/// JSON cannot hold are left as text.
pub(crate) fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let like_a_number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let begins_so = text
        .trim_start_matches(['+', '-', '.'])
        .starts_with(|c: char| c.is_ascii_digit());
    if !begins_so || text.len() > 64 || !text.chars().all(like_a_number) {
        return Value::String(text.to_owned());
    }
    match serde_yaml::from_str::<Value>(text) {
        Ok(number @ Value::Number(_)) => number,
        _ => Value::String(text.to_owned()),
    }
}

/// Whether a plain scalar is one of YAML's infinities or not-a-numbers, which JSON has none of.
pub(crate) fn is_not_finite(text: &str) -> bool {
    let name = text.trim_start_matches(['+', '-']);
    matches!(name, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}
