//! JSON as Python programs write it, read as Python reads it.
//!
//! Beyond the standard there are `NaN`, `Infinity` and `-Infinity`, a byte order mark at the front
//! and keys that occur twice, of which the last counts. Numbers of a model's configuration may be
//! written `256.0`, and `-1` or null stand for a token that there is not. Every JSON file of a
//! model is read here: one that other programs read is not refused.

mod fields;
mod not_finite;

use serde_json::{Map, Value};

pub use fields::{fields, fields_of, token_id, token_ids};

/// An object of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object {
    /// Its fields; numbers that are not finite are the texts `NaN`, `Infinity` and `-Infinity`.
    pub map: Map<String, Value>,
    /// Its fields without those that hold a number that is not finite.
    pub finite: Map<String, Value>,
    /// The paths of the fields that `finite` is without: `rope_scaling.factor`.
    pub left_out: Vec<String>,
}

/// Reads an object.
///
/// # Errors
/// The text is no object: a sentence without the file's name.
pub fn object(text: &str) -> Result<Object, String> {
    match parse(text)? {
        Value::Object(marked) => Ok(Object::of(marked)),
        other => Err(format!("not a JSON object but {}", kind(&other))),
    }
}

/// The value of a text; numbers that are not finite are marked.
fn parse(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err("it is empty, expected a JSON object".to_owned());
    }
    serde_json::from_str(&not_finite::mark(text))
        .map_err(|cause| format!("not a JSON object: {cause}"))
}

impl Object {
    fn of(marked: Map<String, Value>) -> Self {
        let mut finite = Value::Object(marked);
        let mut map = finite.clone();
        not_finite::unmark(&mut map);
        let mut left_out = Vec::new();
        not_finite::leave_out(&mut finite, "", &mut left_out);
        Self {
            map: into_map(map),
            finite: into_map(finite),
            left_out,
        }
    }
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_writes_is_read() {
        let text = "\u{FEFF}{\"a\": 1, \"b\": {\"c\": -Infinity, \"d\": \"NaN\"}, \"e\": [1, NaN], \"a\": 2}";
        let object = object(text).unwrap();
        let all = json!({"a": 2, "b": {"c": "-Infinity", "d": "NaN"}, "e": [1, "NaN"]});
        assert_eq!(Value::Object(object.map), all);
        let finite = json!({"a": 2, "b": {"d": "NaN"}});
        assert_eq!(Value::Object(object.finite), finite);
        assert_eq!(object.left_out, ["b.c", "e"]);
    }

    #[test]
    fn other_texts_get_a_sentence() {
        let check = |text: &str, expected: &str| {
            let sentence = object(text).unwrap_err();
            assert!(sentence.starts_with(expected), "{sentence}");
        };
        check(" \n", "it is empty");
        check("[]", "not a JSON object but a list");
        check("{", "not a JSON object: EOF while parsing");
        check("{\"a\": NaNs}", "not a JSON object: ");
    }
}
