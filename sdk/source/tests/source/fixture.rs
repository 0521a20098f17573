//! A small random model of the fixtures, as it is or with another configuration.

use std::fs;
use std::path::{Path, PathBuf};

use evopress_source::{ModelSpec, Source, fixtures};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// The model's folder; `name` is within the fixtures: `families/qwen2`.
pub(crate) fn folder(name: &str) -> PathBuf {
    fixtures::folder().join(name)
}

pub(crate) fn spec(name: &str) -> ModelSpec {
    Source::open(&folder(name)).unwrap().spec().clone()
}

/// A copy whose configuration `change` has changed.
pub(crate) fn changed(name: &str, change: impl Fn(&mut Map<String, Value>)) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "tokenizer.json"] {
        fs::copy(folder(name).join(file), copy.path().join(file)).unwrap();
    }
    let text = fs::read_to_string(folder(name).join("config.json")).unwrap();
    let mut config: Map<String, Value> = serde_json::from_str(&text).unwrap();
    change(&mut config);
    write_config(copy.path(), config);
    copy
}

pub(crate) fn write_config(folder: &Path, config: Map<String, Value>) {
    let text = Value::Object(config).to_string();
    fs::write(folder.join("config.json"), text).unwrap();
}
