//! The JSON Schema of a spec, derived from the typed fields. Draft 7 and everything in place, no
//! references: what editors understand best, and a pointer into it is a path of the spec.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

use crate::typed::Spec;

static SCHEMA: LazyLock<Value> = LazyLock::new(schema_of::<Spec>);

/// The JSON Schema of what people type into another file, in the form that [`schema`] has.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(plain).transform(&mut schema);
    schema.to_value()
}

/// The JSON Schema of a spec: every field with its docs, unit, range and default.
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// The JSON Schema of a spec, without a copy.
pub(crate) fn get() -> &'static Value {
    &SCHEMA
}

/// Removes what says nothing to a person: machine formats, and `null`, which stands for a field
/// that is left out. Sorts the keywords so that the most telling come first.
fn plain(schema: &mut Schema) {
    let Some(keywords) = schema.as_object_mut() else {
        return;
    };
    keywords.remove("format");
    only_choice(keywords);
    if keywords.get("default") == Some(&Value::Null) {
        keywords.remove("default");
    }
    if let Some(Value::Array(types)) = keywords.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            keywords.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::String(description)) = keywords.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    let mut ordered = Map::new();
    for keyword in ORDER {
        if let Some(value) = keywords.shift_remove(*keyword) {
            ordered.insert((*keyword).to_owned(), value);
        }
    }
    ordered.append(keywords);
    *keywords = ordered;
}

/// Replaces a choice between one schema and `null` by that schema. Keywords of the field itself
/// take precedence over those of its type.
fn only_choice(keywords: &mut Map<String, Value>) {
    let choices = keywords.get("anyOf").and_then(Value::as_array);
    let mut some = choices
        .into_iter()
        .flatten()
        .filter(|choice| choice["type"] != "null");
    if let (Some(Value::Object(only)), None) = (some.next(), some.next()) {
        let only = only.clone();
        keywords.shift_remove("anyOf");
        for (keyword, value) in only {
            keywords.entry(keyword).or_insert(value);
        }
    }
}

const ORDER: &[&str] = &[
    "$schema",
    "title",
    "description",
    "type",
    "const",
    "oneOf",
    "default",
    "examples",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "pattern",
    "patternErrorMessage",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "additionalProperties",
];
