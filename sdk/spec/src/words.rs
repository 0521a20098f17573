//! The words of mistakes: what was found, what is expected, which name is near.

use evopress_core::text::shortened;
use serde_json::{Map, Value};

/// The name that was probably meant.
pub(crate) fn nearest<'a>(
    typed: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let fold = |name: &str| name.to_lowercase().replace(['_', ' '], "-");
    let typed = fold(&clip(typed));
    let near = |name: &&str| strsim::normalized_damerau_levenshtein(&typed, &fold(name));
    let best = names
        .into_iter()
        .map(|name| (near(&name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.5).then_some(best.1)
}

/// "`a`, `b` or `c`", with the joining word given.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>, join: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {join} {last}", first.join(", ")),
    }
}

/// Text of a spec as it may stand in a message: short, on one line, and harmless on a terminal.
pub(crate) fn clip(text: &str) -> String {
    const MAX: usize = 60;
    let mut clipped: String = text.chars().take(MAX).map(harmless).collect();
    if text.chars().nth(MAX).is_some() {
        clipped.push('…');
    }
    clipped
}

/// A whole message that may hold anything, of any length, on one line and harmless on a terminal.
pub(crate) fn one_line(text: &str) -> String {
    shortened(text).chars().map(harmless).collect()
}

fn harmless(c: char) -> char {
    if c.is_control() || is_invisible(c) {
        '\u{FFFD}'
    } else {
        c
    }
}

/// Characters that reorder or hide text on a terminal.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// "found the text \"many\"".
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Null => "found nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("found {value}"),
        Value::String(text) if text.is_empty() => "found an empty text".to_owned(),
        Value::String(text) => format!("found the text \"{}\"", clip(text)),
        Value::Array(items) if items.is_empty() => "found an empty list".to_owned(),
        Value::Array(_) => "found a list".to_owned(),
        Value::Object(fields) if fields.is_empty() => "found an empty mapping".to_owned(),
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().take(4).map(|name| clip(name)).collect();
            let more = if fields.len() > 4 { ", …" } else { "" };
            format!("found a mapping ({}{more})", names.join(", "))
        }
    }
}

/// "a whole number from 1 to 100": what a schema allows.
pub(crate) fn expected(schema: &Value) -> String {
    if let Some(hint) = schema.get("patternErrorMessage").and_then(Value::as_str) {
        return hint.to_owned();
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        return list(choices, "or");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer") => format!("a whole number{}", range(schema)),
        Some("number") => format!("a number{}", range(schema)),
        Some("boolean") => "true or false".to_owned(),
        Some("string") => text_of_length(count(schema, "minLength"), count(schema, "maxLength")),
        Some("array") => match (count(schema, "minItems"), count(schema, "maxItems")) {
            (Some(min), Some(max)) => format!("a list of {min} to {max} items"),
            (None, Some(max)) => format!("a list of at most {max} items"),
            (Some(min), None) => format!("a list of at least {min} items"),
            (None, None) => "a list".to_owned(),
        },
        Some("object") => match schema.get("properties").and_then(Value::as_object) {
            Some(fields) => format!("a mapping with {}", fields_of(schema, fields)),
            None => "a mapping of names to values".to_owned(),
        },
        _ => "something else".to_owned(),
    }
}

fn text_of_length(min: Option<u64>, max: Option<u64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("text of {min} to {max} characters"),
        (None, Some(max)) => format!("text of at most {max} characters"),
        (Some(1), None) => "text that is not empty".to_owned(),
        (Some(min), None) => format!("text of at least {min} characters"),
        (None, None) => "text".to_owned(),
    }
}

fn fields_of(schema: &Value, fields: &Map<String, Value>) -> String {
    let one = schema.get("maxProperties").and_then(Value::as_u64) == Some(1);
    let names = list(
        fields.keys().map(String::as_str),
        if one { "or" } else { "and" },
    );
    if one {
        format!("one of {names}")
    } else {
        names
    }
}

/// The texts that a schema allows, where it allows only some.
pub(crate) fn choices(schema: &Value) -> Vec<&str> {
    let mut texts = Vec::new();
    texts.extend(schema.get("const").and_then(Value::as_str));
    for key in ["enum", "oneOf"] {
        for choice in schema
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            match choice {
                Value::String(text) => texts.push(text.as_str()),
                _ => texts.extend(choices(choice)),
            }
        }
    }
    texts
}

/// " from 1 to 100", " above 0 and below 1".
fn range(schema: &Value) -> String {
    let number = |key: &str| schema.get(key).map(plain_number);
    let low = number("minimum")
        .map(|n| (n, true))
        .or_else(|| number("exclusiveMinimum").map(|n| (n, false)));
    let high = number("maximum")
        .map(|n| (n, true))
        .or_else(|| number("exclusiveMaximum").map(|n| (n, false)));
    let above = |(n, inclusive): (String, bool)| {
        if inclusive {
            format!("of at least {n}")
        } else {
            format!("above {n}")
        }
    };
    let below = |(n, inclusive): (String, bool)| {
        if inclusive {
            format!("at most {n}")
        } else {
            format!("below {n}")
        }
    };
    match (low, high) {
        (Some((low, true)), Some((high, true))) => format!(" from {low} to {high}"),
        (Some(low), Some(high)) => format!(" {} and {}", above(low), below(high)),
        (Some(low), None) => format!(" {}", above(low)),
        (None, Some(high)) => format!(" {}", below(high)),
        (None, None) => String::new(),
    }
}

fn plain_number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() <= MAX_EXACT => {
            format!("{number:.0}")
        }
        _ => value.to_string(),
    }
}

fn count(schema: &Value, key: &str) -> Option<u64> {
    schema
        .get(key)
        .and_then(Value::as_u64)
        .filter(|&count| count > 0)
}

/// Whole numbers up to here are exact as floats.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

/// "; did you mean 0.25?": what would be right instead of this value, where that can be told.
/// `typed` is how a number or a truth value was written.
pub(crate) fn hint(value: &Value, typed: Option<&str>, schema: &Value) -> Option<String> {
    let kind = schema.get("type").and_then(Value::as_str);
    match (value, kind) {
        (Value::String(text), Some("boolean")) => {
            let truth = matches!(text.to_lowercase().as_str(), "yes" | "on" | "true");
            let lie = matches!(text.to_lowercase().as_str(), "no" | "off" | "false");
            let quoted = matches!(text.as_str(), "true" | "false");
            let how = if quoted { " without quotes" } else { "" };
            (truth || lie).then(|| format!("write {truth}{how}"))
        }
        (Value::String(text), Some("integer" | "number")) => number_hint(text),
        (Value::String(text), _) => {
            let examples = schema
                .get("examples")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let known = schema.get("patternErrorMessage").is_some() && choices(schema).is_empty();
            let examples = examples.filter_map(Value::as_str).filter(|_| known);
            let choices = choices(schema);
            // The only choice has been named already.
            let choices = choices.iter().copied().filter(|_| choices.len() > 1);
            nearest(text, choices.chain(examples)).map(|name| format!("did you mean `{name}`?"))
        }
        (Value::Number(_) | Value::Bool(_), Some("string")) => {
            let typed = typed.map_or_else(|| value.to_string(), clip);
            Some(format!("put it in quotes: \"{typed}\""))
        }
        (Value::Object(_), Some("array")) => {
            Some("put a hyphen before the first field to make it an item".to_owned())
        }
        (Value::Number(number), Some("integer")) if number.is_f64() => {
            let number = number
                .as_f64()
                .filter(|n| n.fract() == 0.0 && n.abs() < MAX_EXACT)?;
            Some(format!("write {number:.0}"))
        }
        (Value::Number(number), Some("number")) => {
            let share = schema.get("exclusiveMaximum").and_then(Value::as_f64) == Some(1.0);
            let percent = number.as_f64().filter(|&n| share && n > 1.0 && n < 100.0)?;
            Some(format!("{percent} % is written {}", percent / 100.0))
        }
        (Value::Null, _) => Some("give it a value".to_owned()),
        _ => None,
    }
}

fn number_hint(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(percent) = text
        .strip_suffix('%')
        .and_then(|share| share.trim().parse::<f64>().ok())
        .filter(|share| share.is_finite())
    {
        return Some(format!("write {}", percent / 100.0));
    }
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, '_' | ',' | '\'' | ' '))
        .collect();
    let number: f64 = digits
        .parse()
        .ok()
        .filter(|number: &f64| number.abs() < MAX_EXACT)?;
    let plain = digits == text;
    Some(format!(
        "write {number}{}",
        if plain { " without quotes" } else { "" }
    ))
}

/// The first sentence of a field's docs, to say what is missing.
pub(crate) fn first_sentence(schema: &Value) -> Option<String> {
    let description = schema.get("description").and_then(Value::as_str)?;
    let sentence = description
        .split(". ")
        .next()
        .unwrap_or(description)
        .trim_end_matches('.');
    let mut chars = sentence.chars();
    let first = chars.next()?;
    let rest = chars.as_str();
    let acronym = rest.starts_with(|c: char| c.is_uppercase()) || sentence.starts_with("Hugging");
    Some(if acronym {
        sentence.to_owned()
    } else {
        format!("{}{rest}", first.to_lowercase())
    })
}
