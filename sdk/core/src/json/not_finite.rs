//! `NaN`, `Infinity` and `-Infinity`, which Python's `json` writes and the standard does not have.
//!
//! Before a text is parsed they become marked texts, so that a reader can tell them from the text
//! "NaN".

use std::borrow::Cow;

use serde_json::Value;

/// A character without a meaning that no file of a model has.
const MARK: char = '\u{F8FF}';
const WORDS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The text with each such number as a marked text.
pub(super) fn mark(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut marked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match word_at(rest) {
            _ if next == '"' => string_length(rest),
            Some(word) => {
                marked.extend(['"', MARK]);
                marked.push_str(word);
                marked.push('"');
                rest = &rest[word.len()..];
                continue;
            }
            None => next.len_utf8(),
        };
        marked.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Cow::Owned(marked)
}

/// Turns marked texts into plain ones.
pub(super) fn unmark(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with(MARK) => *text = text.split_off(MARK.len_utf8()),
        Value::Array(items) => items.iter_mut().for_each(unmark),
        Value::Object(fields) => fields.values_mut().for_each(unmark),
        _ => {}
    }
}

/// Leaves out fields that hold such a number, itself or in a list. Returns whether the value is to
/// stay.
pub(super) fn leave_out(value: &mut Value, path: &str, left_out: &mut Vec<String>) -> bool {
    match value {
        Value::String(text) => !text.starts_with(MARK),
        Value::Array(items) => items.iter_mut().all(|item| leave_out(item, path, left_out)),
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let path = match path {
                    "" => name.clone(),
                    _ => format!("{path}.{name}"),
                };
                let stays = leave_out(value, &path, left_out);
                if !stays {
                    left_out.push(path);
                }
                stays
            });
            true
        }
        _ => true,
    }
}

/// The word that a text begins with, if nothing continues it.
fn word_at(text: &str) -> Option<&'static str> {
    WORDS.into_iter().find(|word| {
        let after = text.strip_prefix(word);
        after.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric()))
    })
}

/// Bytes of the quoted text that a text begins with.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (idx, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return idx + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_marked() {
        let check = |text: &str, expected: &str| {
            assert_eq!(mark(text).replace(MARK, "!"), expected, "{text}");
        };
        check(r#"{"a": NaN}"#, r#"{"a": "!NaN"}"#);
        check("[-Infinity,Infinity]", r#"["!-Infinity","!Infinity"]"#);
        check(r#"{"NaN": "a \" NaN"}"#, r#"{"NaN": "a \" NaN"}"#);
        check(r#"{"ä\\": NaN, "b"#, r#"{"ä\\": "!NaN", "b"#);
    }
}
