//! Compares a spec's values with the JSON Schema. Out: every structural mistake in words, and a
//! copy of the values in which each mistake has been replaced by something valid, so that the rules
//! that come after can still check the rest.

use std::collections::HashSet;
use std::sync::LazyLock;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::{Map, Value};

use crate::mistake::Fault;
use crate::place::Position;
use crate::tree::Tree;
use crate::words::{clip, expected, first_sentence, found, hint, list, nearest};
use crate::{place, schema};

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::draft7::new(schema::get()).expect("the schema of our own types is a schema")
});

/// The search for mistakes ends after this many.
const MAX_FAULTS: usize = 1000;

/// What a message shows in place of a value that may be a secret.
pub(crate) const SECRET: &str = "found something that may be a secret and is not shown";

/// Values that satisfy the schema, and which of them are stand-ins for mistakes.
pub(crate) struct Repaired {
    pub(crate) value: Value,
    pub(crate) tainted: Tainted,
}

/// Pointers to stand-ins; nothing may be said about them.
#[derive(Default)]
pub(crate) struct Tainted(HashSet<String>);

impl Tainted {
    /// Whether the value, or something around it, is a stand-in.
    pub(crate) fn holds(&self, pointer: &str) -> bool {
        let around = std::iter::successors(Some(pointer), |pointer| {
            pointer.rsplit_once('/').map(|(parent, _)| parent)
        });
        around.into_iter().any(|pointer| self.0.contains(pointer))
    }

    /// All of them.
    pub(crate) fn into_pointers(self) -> impl Iterator<Item = String> {
        self.0.into_iter()
    }

    /// Whether the value, something around it, or something in it is a stand-in.
    pub(crate) fn touches(&self, pointer: &str) -> bool {
        self.holds(pointer) || self.0.iter().any(|bad| place::holds(pointer, bad))
    }
}

/// Finds every structural mistake.
pub(crate) fn check(tree: &Tree, faults: &mut Vec<Fault>) -> Repaired {
    let mut repaired = Repaired {
        value: tree.value.clone(),
        tainted: Tainted::default(),
    };
    let mut missing = Vec::new();
    let mut suggested = HashSet::new();
    let mut told: HashSet<(Position, String)> = faults
        .iter()
        .map(|fault| (fault.at, fault.pointer.clone()))
        .collect();
    for error in VALIDATOR.iter_errors(&tree.value).take(MAX_FAULTS) {
        let pointer = error.instance_path.as_str();
        let of = schema_of(error.schema_path.as_str());
        match &error.kind {
            Kind::AdditionalProperties { unexpected } => {
                for name in unexpected.iter().take(MAX_FAULTS) {
                    let (fault, meant) = unknown_field(tree, pointer, name, of);
                    faults.push(fault);
                    suggested.extend(meant.map(|name| place::child(pointer, name)));
                    repaired.remove(pointer, name, of);
                }
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                missing.push((pointer.to_owned(), name.to_owned(), of));
            }
            Kind::MinProperties { .. } | Kind::MaxProperties { .. } => {
                faults.push(wrong_number_of_fields(tree, pointer, of));
                repaired.replace(pointer, of);
            }
            _ => {
                let fault = wrong_value(tree, pointer, &error.instance, of);
                // YAML itself may have objected to the value already.
                if told.insert((fault.at, fault.pointer.clone())) {
                    faults.push(fault);
                }
                repaired.replace(pointer, of);
            }
        }
    }
    let mut floats = Vec::new();
    floats_for_integers(&tree.value, schema::get(), "", &mut floats);
    for (pointer, value, of) in floats.into_iter().take(MAX_FAULTS) {
        if !repaired.tainted.holds(&pointer) {
            faults.push(wrong_value(tree, &pointer, value, of));
            repaired.replace(&pointer, of);
        }
    }
    for (pointer, name, of) in missing {
        // It is there under another name, and this mistake has been reported.
        if !suggested.contains(&place::child(&pointer, &name)) {
            faults.push(missing_field(tree, &pointer, &name, of));
        }
        repaired.insert(&pointer, &name, of);
    }
    repaired
}

/// The schema whose keyword this path names.
fn schema_of(keyword_path: &str) -> &'static Value {
    let parent = keyword_path
        .rsplit_once('/')
        .map_or("", |(parent, _)| parent);
    schema::get().pointer(parent).unwrap_or(&Value::Null)
}

fn unknown_field(
    tree: &Tree,
    pointer: &str,
    name: &str,
    of: &'static Value,
) -> (Fault, Option<&'static str>) {
    let field = place::child(pointer, name);
    let holder = holder(pointer);
    let known = of.get("properties").and_then(Value::as_object);
    let names = || known.into_iter().flat_map(Map::keys).map(String::as_str);
    let meant = nearest(name, names());
    let message = match meant {
        Some(meant) => format!(
            "`{}` is not a field of {holder}: did you mean `{meant}`?",
            clip(name)
        ),
        None => format!(
            "`{}` is not a field of {holder}, which has {}",
            clip(name),
            list(names(), "and")
        ),
    };
    (Fault::new(tree.key_at(&field), &field, &message), meant)
}

fn missing_field(tree: &Tree, pointer: &str, name: &str, of: &Value) -> Fault {
    let schema = of
        .get("properties")
        .and_then(|fields| fields.get(name))
        .unwrap_or(&Value::Null);
    let what = first_sentence(schema)
        .map(|what| format!(" ({what})"))
        .unwrap_or_default();
    let choices = crate::words::choices(schema);
    let allowed = if choices.is_empty() {
        String::new()
    } else {
        format!(": write {}", list(choices, "or"))
    };
    let message = format!("{} lacks `{name}`{what}{allowed}", holder(pointer));
    Fault::new(tree.key_at(pointer), pointer, &message)
}

fn wrong_number_of_fields(tree: &Tree, pointer: &str, of: &Value) -> Fault {
    let fields = tree.value.pointer(pointer).and_then(Value::as_object);
    let names: Vec<String> = fields
        .into_iter()
        .flat_map(Map::keys)
        .map(|name| clip(name))
        .collect();
    let message = match names.len() {
        0 => format!("{} is empty: expected {}", holder(pointer), expected(of)),
        count => {
            let names = list(names.iter().map(String::as_str), "and");
            format!(
                "{} holds {count} fields ({names}): exactly one is allowed",
                holder(pointer)
            )
        }
    };
    Fault::new(tree.key_at(pointer), pointer, &message)
}

fn wrong_value(tree: &Tree, pointer: &str, value: &Value, of: &Value) -> Fault {
    let typed = tree.text_at(pointer);
    let hint = hint(value, typed, of)
        .map(|hint| format!("; {hint}"))
        .unwrap_or_default();
    // A secret in the wrong place must not appear in a message.
    let hidden = of.get("writeOnly") == Some(&Value::Bool(true));
    let (found, hint) = if hidden {
        (SECRET.to_owned(), String::new())
    } else {
        (found_here(value, typed, of), hint)
    };
    let message = format!("{found}, expected {}{hint}", expected(of));
    let at = if value.is_object() {
        tree.key_at(pointer)
    } else {
        tree.value_at(pointer)
    };
    Fault::new(at, pointer, &message)
}

/// What a message says was found: a number as it was typed, a long list by its length.
fn found_here(value: &Value, typed: Option<&str>, of: &Value) -> String {
    if let Some(typed) = typed {
        return format!("found {}", clip(typed));
    }
    match value {
        Value::Array(items)
            if !items.is_empty() && of.get("type").and_then(Value::as_str) == Some("array") =>
        {
            format!("found a list of {} items", items.len())
        }
        _ => found(value),
    }
}

/// Finds floats in place of integers: `512.0` is a whole number to JSON Schema, but not to a typed
/// reader.
fn floats_for_integers<'a>(
    value: &'a Value,
    schema: &'static Value,
    pointer: &str,
    floats: &mut Vec<(String, &'a Value, &'static Value)>,
) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(schema) = schema.get("properties").and_then(|known| known.get(name)) {
                    floats_for_integers(value, schema, &place::child(pointer, name), floats);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else {
                return;
            };
            for (idx, value) in items.iter().enumerate() {
                let pointer = place::child(pointer, &idx.to_string());
                floats_for_integers(value, schema, &pointer, floats);
            }
        }
        Value::Number(number) if schema.get("type").and_then(Value::as_str) == Some("integer") => {
            let whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
            if number.is_f64() && whole {
                floats.push((pointer.to_owned(), value, schema));
            }
        }
        _ => {}
    }
}

fn holder(pointer: &str) -> String {
    match place::split(pointer) {
        None => "a pipeline".to_owned(),
        Some((parent, name)) if name.chars().all(|c| c.is_ascii_digit()) => {
            match place::split(parent) {
                Some((_, of)) => format!("an item of `{of}`"),
                None => "an item".to_owned(),
            }
        }
        Some((_, name)) => format!("`{}`", clip(&name)),
    }
}

impl Repaired {
    fn remove(&mut self, pointer: &str, name: &str, of: &Value) {
        if of.get("minProperties").is_some() {
            self.replace(pointer, of);
        } else if let Some(Value::Object(fields)) = self.value.pointer_mut(pointer) {
            fields.swap_remove(name);
            self.tainted.0.insert(place::child(pointer, name));
        }
    }

    fn replace(&mut self, pointer: &str, of: &Value) {
        self.tainted.0.insert(pointer.to_owned());
        if let Some(value) = self.value.pointer_mut(pointer) {
            *value = stand_in(of);
        }
    }

    fn insert(&mut self, pointer: &str, name: &str, of: &Value) {
        let schema = of
            .get("properties")
            .and_then(|fields| fields.get(name))
            .unwrap_or(&Value::Null);
        self.tainted.0.insert(place::child(pointer, name));
        if let Some(Value::Object(fields)) = self.value.pointer_mut(pointer) {
            fields.entry(name).or_insert_with(|| stand_in(schema));
        }
    }
}

/// Something that satisfies a schema: its default or its example, or made from its parts.
fn stand_in(schema: &Value) -> Value {
    let example = schema.get("examples").and_then(|examples| examples.get(0));
    if let Some(value) = schema.get("default").or(example) {
        return value.clone();
    }
    if let Some(text) = crate::words::choices(schema).first() {
        return Value::from(*text);
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => {
            let count = usize::from(schema.get("minItems").and_then(Value::as_u64) > Some(0));
            let item = schema.get("items").map(stand_in).unwrap_or(Value::Null);
            Value::Array(vec![item; count])
        }
        Some("object") => {
            let required = schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let field = |name: &str| stand_in(&schema["properties"][name]);
            let named = required
                .filter_map(Value::as_str)
                .map(|name| (name.to_owned(), field(name)));
            Value::Object(named.collect())
        }
        Some("string") => Value::from("-"),
        Some("boolean") => Value::Bool(false),
        _ => schema.get("minimum").cloned().unwrap_or(Value::from(0)),
    }
}
