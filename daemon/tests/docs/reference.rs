//! The reference pages, made from JSON Schemas: a table of fields for each object.

use std::fmt::Write as _;

use serde_json::Value;

use crate::places::repository;

/// The page of pipeline specs.
pub(crate) fn of_specs() -> String {
    let intro = "A pipeline spec is one YAML document. Fields that are not listed here are mistakes. Editors \
                 complete fields from the JSON Schema, \
                 [pipeline.schema.json](../../pipelines/pipeline.schema.json), which `evopressd schema` prints. \
                 [Writing a spec](../specs.md) explains how the fields work together.";
    page("Pipeline specs", intro, &evopress_spec::schema())
}

/// The page of the daemon's config file.
pub(crate) fn of_the_config() -> String {
    let intro = "`evopressd serve --config FILE` reads these settings from a YAML file. Every one is optional. \
                 Where a setting has a flag or an environment variable too, such as `--max-concurrent-runs` and \
                 `EVOPRESS_MAX_CONCURRENT_RUNS`, these go before the file: `evopressd help serve` lists them. Relative \
                 paths begin at the file's folder. [Operations](../operations.md) shows the settings at work.";
    page(
        "The config file of the daemon",
        intro,
        &evopressd::config::schema(),
    )
}

/// Compares a committed page with what it should be; writes it where `EVOPRESS_UPDATE_DOCS` is set.
#[track_caller]
pub(crate) fn check(path: &str, expected: &str) {
    let file = repository().join(path);
    if std::env::var_os("EVOPRESS_UPDATE_DOCS").is_some() {
        std::fs::write(&file, expected).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = found
        .lines()
        .zip(expected.lines())
        .position(|(a, b)| a != b);
    assert!(
        found == expected,
        "{path} is not current, from line {}: set EVOPRESS_UPDATE_DOCS=1 and run this test again",
        differs.map_or(found.lines().count().min(expected.lines().count()), |it| it) + 1
    );
}

fn page(title: &str, intro: &str, schema: &Value) -> String {
    let mut page = format!(
        "# {title}\n\n{}\n\n\
         *Generated from the JSON Schema by `daemon/tests/docs`; changes here are lost.*\n",
        wrapped(intro)
    );
    let mut secrets = Vec::new();
    object(&mut page, "", schema, &mut secrets);
    if let Some(secret) = secrets.first() {
        page.push_str("\n## Secrets\n\n");
        page.push_str("A field that says where a secret is has exactly one of these.\n\n");
        fields(&mut page, "", secret, &mut Vec::new());
    }
    page
}

/// A heading, a table of fields, and the same for objects inside.
fn object<'a>(page: &mut String, path: &str, schema: &'a Value, secrets: &mut Vec<&'a Value>) {
    if path.is_empty() {
        page.push_str("\n## Top level\n\n");
    } else {
        let _ = writeln!(
            page,
            "\n## `{path}`\n\n{}\n",
            wrapped(description(schema).0)
        );
    }
    let inner = fields(page, path, schema, secrets);
    for (path, schema) in inner {
        object(page, &path, schema, secrets);
    }
}

/// The table of an object's fields; out come the objects in it.
fn fields<'a>(
    page: &mut String,
    path: &str,
    schema: &'a Value,
    secrets: &mut Vec<&'a Value>,
) -> Vec<(String, &'a Value)> {
    let mut inner = Vec::new();
    page.push_str("| field | what | values | default |\n|---|---|---|---|\n");
    let required = schema["required"].as_array();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let place = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let item = &field["items"];
        let values = if is_secret(field) {
            secrets.push(field);
            "[a secret](#secrets)".to_owned()
        } else if has_fields(field) {
            inner.push((place.clone(), field));
            link("an object", &place)
        } else if has_fields(item) {
            inner.push((format!("{place}[]"), item));
            format!("a list of {}{}", link("objects", &place), lengths(field))
        } else if item.is_object() {
            format!("a list of: {}", values(item))
        } else {
            values(field)
        };
        let (what, said_default) = description(field);
        let is_required = required.is_some_and(|all| all.iter().any(|it| it == name));
        let default = match (&field["default"], said_default) {
            _ if is_required => "*required*".to_owned(),
            (Value::Null, Some(words)) => words.to_owned(),
            (Value::Null, None) => String::new(),
            (value, _) if value == &serde_json::json!({}) => "none".to_owned(),
            (value, _) if value == &serde_json::json!([]) => "none".to_owned(),
            (value, _) => format!("`{value}`").replace("`\"", "`").replace("\"`", "`"),
        };
        let _ = writeln!(
            page,
            "| `{name}` | {} | {} | {} |",
            cell(what),
            cell(&values),
            cell(&default)
        );
    }
    inner
}

fn link(words: &str, place: &str) -> String {
    let anchor: String = place
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        .collect();
    format!("[{words}](#{anchor})")
}

fn has_fields(schema: &Value) -> bool {
    schema["properties"].is_object()
}

/// Where a secret is: an object of `env` and `file`.
fn is_secret(schema: &Value) -> bool {
    let properties = schema["properties"].as_object();
    properties.is_some_and(|all| all.keys().eq(["env", "file"]))
}

/// What a field takes: its choices, or its type with its range.
fn values(schema: &Value) -> String {
    if let Some(choices) = schema["oneOf"].as_array() {
        let choices = choices.iter().map(|choice| {
            let word = choice["const"].as_str().unwrap_or_default();
            format!(
                "`{word}`: {}",
                lower_first(description(choice).0.trim_end_matches('.'))
            )
        });
        return choices.collect::<Vec<_>>().join("<br>");
    }
    let kind = match &schema["type"] {
        Value::Array(all) => {
            let names = all.iter().filter_map(Value::as_str).map(type_words);
            names.collect::<Vec<_>>().join(" or ")
        }
        one => type_words(one.as_str().unwrap_or_default()).to_owned(),
    };
    let pattern = schema["patternErrorMessage"].as_str();
    let example = schema["examples"].as_array().and_then(|all| all.first());
    let example = example
        .filter(|it| !it.is_boolean())
        .map_or_else(String::new, |it| {
            let text = it.as_str().map_or_else(|| it.to_string(), str::to_owned);
            format!(", such as `{text}`")
        });
    format!("{}{}{example}", pattern.unwrap_or(&kind), range(schema))
}

fn type_words(name: &str) -> &str {
    match name {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "object" => "fields and values",
        "array" => "a list",
        other => other,
    }
}

fn range(schema: &Value) -> String {
    let bound = |keyword: &str| schema.get(keyword).map(number);
    let mut words = Vec::new();
    words.extend(bound("minimum").map(|it| format!("from {it}")));
    words.extend(bound("exclusiveMinimum").map(|it| format!("above {it}")));
    words.extend(bound("maximum").map(|it| format!("to {it}")));
    words.extend(bound("exclusiveMaximum").map(|it| format!("to below {it}")));
    match words.is_empty() {
        true => String::new(),
        false => format!(" {}", words.join(" ")),
    }
}

/// Digits in groups of three.
fn number(value: &Value) -> String {
    let text = value.to_string();
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text.len() < 5 || text.contains('.') {
        return text.to_owned();
    }
    let mut grouped = String::new();
    for (idx, digit) in text.chars().enumerate() {
        if idx > 0 && (text.len() - idx).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn lengths(list: &Value) -> String {
    match (&list["minItems"], &list["maxItems"]) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, most) => format!(", at most {most}"),
        (least, most) => format!(", {least} to {most}"),
    }
}

/// A description, and the default that its last sentence says.
fn description(schema: &Value) -> (&str, Option<&str>) {
    let text = schema["description"].as_str().unwrap_or_default();
    match text.split_once(" Default: ") {
        Some((what, default)) => (what, Some(default.trim_end_matches('.'))),
        None => (text, None),
    }
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_lowercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Text in lines of at most 100 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().unwrap();
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(word.to_owned());
        } else {
            let space = if line.is_empty() { "" } else { " " };
            line.push_str(space);
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[test]
fn a_schema_becomes_tables() {
    let schema = serde_json::json!({
        "required": ["a"],
        "properties": {
            "a": {"description": "The first.", "type": "integer", "minimum": 1, "maximum": 100_000},
            "b": {"description": "The second. Default: none.", "type": "object", "properties": {
                "c": {"description": "A choice.", "default": "x", "oneOf": [
                    {"const": "x", "description": "This one."}, {"const": "y", "description": "That|one."}]}}},
            "d": {"description": "Many.", "type": "array", "minItems": 1, "maxItems": 3, "items": {
                "description": "One of many.", "properties": {
                    "token": {"description": "Where it is.", "properties": {"env": {}, "file": {}}}}}}
        }
    });
    let found = page("Title", "Intro.", &schema);
    for expected in [
        "| `a` | The first. | a whole number from 1 to 100,000 | *required* |",
        "| `b` | The second. | [an object](#b) | none |",
        "## `b`\n\nThe second.\n",
        "| `c` | A choice. | `x`: this one<br>`y`: that\\|one | `x` |",
        "| `d` | Many. | a list of [objects](#d), 1 to 3 |  |",
        "## `d[]`\n\nOne of many.\n",
        "| `token` | Where it is. | [a secret](#secrets) |  |",
        "## Secrets",
    ] {
        assert!(found.contains(expected), "{expected}\n---\n{found}");
    }
}
