//! Options against a plugin's JSON Schema: all mistakes at once, each where it is.

use std::{borrow::Cow, fmt};

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::{Map, Value};

/// A mistake in a plugin's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionMistake {
    /// JSON pointer into the options: `/granularity`; empty for the options as a whole.
    pub pointer: String,
    /// What was found, what is allowed, and the nearest right name.
    pub message: String,
}

impl fmt::Display for OptionMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.message),
            pointer => write!(
                f,
                "`{}`: {}",
                pointer.trim_start_matches('/').replace('/', "."),
                self.message
            ),
        }
    }
}

/// Every way in which `options` break `schema`; empty when they keep it. `null` stands for no
/// options.
///
/// A schema that cannot be used itself is one mistake that says so.
pub fn check_options(schema: &Value, options: &Value) -> Vec<OptionMistake> {
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("the plugin's schema of its options is not valid: {error}");
            return vec![OptionMistake {
                pointer: String::new(),
                message,
            }];
        }
    };
    let options = or_empty(options);
    let mut mistakes: Vec<OptionMistake> = validator
        .iter_errors(&options)
        .flat_map(|error| explain(schema, &error))
        .collect();
    mistakes.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    mistakes.dedup();
    mistakes
}

/// The schema that a plugin's text holds.
pub(super) fn parse_schema(text: &str) -> Result<Value, String> {
    let schema: Value = serde_json::from_str(text)
        .map_err(|error| format!("the plugin's schema of its options is not JSON: {error}"))?;
    match jsonschema::validator_for(&schema) {
        Ok(_) => Ok(schema),
        Err(error) => Err(format!(
            "the plugin's schema of its options is not valid: {error}"
        )),
    }
}

/// No options are an empty object.
pub(super) fn or_empty(options: &Value) -> Cow<'_, Value> {
    match options {
        Value::Null => Cow::Owned(Value::Object(Map::new())),
        options => Cow::Borrowed(options),
    }
}

/// The candidate nearest to `name`, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored =
        candidates.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate));
    let (distance, candidate) = scored.min()?;
    (distance <= (name.chars().count() / 3).max(1) + 1 && distance < candidate.chars().count())
        .then_some(candidate)
}

fn explain(schema: &Value, error: &ValidationError<'_>) -> Vec<OptionMistake> {
    let pointer = error.instance_path.as_str().to_owned();
    let found = error.instance.as_ref();
    let message = match &error.kind {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = known_properties(schema, error.schema_path.as_str());
            return unexpected
                .iter()
                .map(|name| unknown_option(&pointer, name, &known))
                .collect();
        }
        Kind::Enum { options } => not_one_of(found, options.as_array().map_or(&[], Vec::as_slice)),
        Kind::Constant { expected_value } => {
            not_one_of(found, std::slice::from_ref(expected_value))
        }
        Kind::Type { kind } => {
            let allowed = match kind {
                TypeKind::Single(kind) => kind.to_string(),
                TypeKind::Multiple(kinds) => kinds
                    .iter()
                    .map(|kind| kind.to_string())
                    .collect::<Vec<_>>()
                    .join(" or "),
            };
            format!("found {} {found}; allowed is {allowed}", type_name(found))
        }
        Kind::Minimum { limit } => format!("found {found}; the smallest allowed value is {limit}"),
        Kind::Maximum { limit } => format!("found {found}; the largest allowed value is {limit}"),
        Kind::ExclusiveMinimum { limit } => {
            format!("found {found}; allowed are values above {limit}")
        }
        Kind::ExclusiveMaximum { limit } => {
            format!("found {found}; allowed are values below {limit}")
        }
        Kind::MultipleOf { multiple_of } => {
            format!("found {found}; allowed are multiples of {multiple_of}")
        }
        Kind::Required { property } => format!("the option {} is missing", quoted(property)),
        _ => error.to_string(),
    };
    vec![OptionMistake { pointer, message }]
}

fn unknown_option(pointer: &str, name: &str, known: &[&str]) -> OptionMistake {
    let mut message = format!("unknown option `{name}`");
    match known {
        [] => message.push_str("; there are no options here"),
        known => message.push_str(&format!("; allowed are `{}`", known.join("`, `"))),
    }
    if let Some(nearest) = nearest(name, known.iter().copied()) {
        message.push_str(&format!("; did you mean `{nearest}`?"));
    }
    OptionMistake {
        pointer: format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
        message,
    }
}

fn not_one_of(found: &Value, allowed: &[Value]) -> String {
    let names: Vec<String> = allowed.iter().map(quoted).collect();
    let mut message = format!("found {}; allowed are {}", quoted(found), names.join(", "));
    let allowed = allowed.iter().filter_map(Value::as_str);
    if let Some(nearest) = found.as_str().and_then(|found| nearest(found, allowed)) {
        message.push_str(&format!("; did you mean `{nearest}`?"));
    }
    message
}

/// The property names of the object schema whose `additionalProperties` keyword is at
/// `schema_path`.
fn known_properties<'a>(schema: &'a Value, schema_path: &str) -> Vec<&'a str> {
    let object = schema_path
        .rsplit_once('/')
        .and_then(|(object, _)| schema.pointer(object));
    let properties = object
        .and_then(|object| object.get("properties"))
        .and_then(Value::as_object);
    properties
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "the boolean",
        Value::Number(_) => "the number",
        Value::String(_) => "the string",
        Value::Array(_) => "the array",
        Value::Object(_) => "the object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mistakes(options: &Value) -> String {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["bits"],
            "properties": {
                "granularity": {"enum": ["sub-block", "block", "free"]},
                "bits": {"type": "integer", "minimum": 2, "maximum": 8},
                "damping": {"type": "number", "exclusiveMinimum": 0},
                "nested": {"type": "object", "additionalProperties": false, "properties": {"a": {"type": ["string", "null"]}}}
            }
        });
        let mistakes = check_options(&schema, options);
        mistakes
            .iter()
            .map(|mistake| format!("{:?} {}\n", mistake.pointer, mistake.message))
            .collect()
    }

    #[test]
    fn right_options_have_no_mistakes() {
        assert_eq!(mistakes(&json!({"bits": 3})), "");
        assert_eq!(
            mistakes(
                &json!({"bits": 8, "granularity": "free", "damping": 0.01, "nested": {"a": null}})
            ),
            ""
        );
    }

    #[test]
    fn all_mistakes_at_once() {
        insta::assert_snapshot!(mistakes(&json!({
            "granularty": "block", "granularity": "blocks", "bits": 9, "damping": "high", "nested": {"b/c": 1, "a": 2}
        })), @r#"
"/bits" found 9; the largest allowed value is 8
"/damping" found the string "high"; allowed is number
"/granularity" found `blocks`; allowed are `sub-block`, `block`, `free`; did you mean `block`?
"/granularty" unknown option `granularty`; allowed are `granularity`, `bits`, `damping`, `nested`; did you mean `granularity`?
"/nested/a" found the number 2; allowed is null or string
"/nested/b~1c" unknown option `b/c`; allowed are `a`
"#);
        insta::assert_snapshot!(mistakes(&Value::Null), @r#""" the option `bits` is missing"#);
        insta::assert_snapshot!(mistakes(&json!([1])), @r#""" found the array [1]; allowed is object"#);
    }

    #[test]
    fn a_schema_that_is_none_is_a_mistake_too() {
        insta::assert_snapshot!(
            check_options(&json!({"type": "objct"}), &json!({}))[0].message,
            @r#"the plugin's schema of its options is not valid: "objct" is not valid under any of the schemas listed in the 'anyOf' keyword"#
        );
        insta::assert_snapshot!(
            parse_schema("{").unwrap_err(),
            @"the plugin's schema of its options is not JSON: EOF while parsing an object at line 1 column 1"
        );
    }

    #[test]
    fn only_near_names_are_suggested() {
        let nearest = |name| nearest(name, ["drop", "gptq", "sparsegpt"].into_iter());
        assert_eq!(nearest("dorp"), Some("drop"));
        assert_eq!(nearest("sparse-gpt"), Some("sparsegpt"));
        assert_eq!(nearest("magnitude"), None);
    }
}
