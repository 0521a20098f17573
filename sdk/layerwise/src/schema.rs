//! JSON Schemas of options.

use serde_json::{Map, Value, json};

/// The schema of an object with these properties and no others.
pub fn options_schema(properties: impl IntoIterator<Item = (&'static str, Value)>) -> String {
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    format!("{schema:#}")
}
