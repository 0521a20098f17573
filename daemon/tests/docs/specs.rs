//! Specs and config files in the docs, as evopressd itself reads them.

use std::path::Path;

use evopress_spec::{Roots, check};
use evopressd::config::ServeFile;

use crate::places::repository;

/// A small spec; a part of another one takes the place of what it has.
const FIELDS: [(&str, &str); 8] = [
    ("apiVersion", "apiVersion: evopress/v1\n"),
    ("kind", "kind: Pipeline\n"),
    ("metadata", "metadata: {name: example}\n"),
    (
        "model",
        "model: {source: models/SmolLM2-135M-Instruct.gguf}\n",
    ),
    (
        "calibration",
        "calibration: {source: text/calibration.txt}\n",
    ),
    ("methods", "methods: [{plugin: drop}]\n"),
    ("target", "target: {drop: 0.25}\n"),
    (
        "evaluation",
        "evaluation: [{source: text/evaluation.txt}]\n",
    ),
];

/// The mistakes of a whole spec. It lies in `pipelines/`, and models of any name are there.
pub(crate) fn whole(text: &str) -> Vec<String> {
    let data = tempfile::tempdir().unwrap();
    let models = data.path().join("models");
    std::fs::create_dir(&models).unwrap();
    for line in text.lines() {
        let mut words = line.split([' ', '{', '}', ',', '"']);
        if let Some(model) = words.find_map(|word| word.strip_prefix("models/")) {
            place_model(&models.join(model));
        }
    }
    let roots = Roots {
        spec_dir: repository().join("pipelines"),
        data_roots: vec![data.path().to_owned()],
    };
    let mistakes = check(text, "spec", &roots).err().unwrap_or_default();
    mistakes
        .iter()
        .map(|it| format!("{}: {}", it.path, it.message))
        .collect()
}

fn place_model(path: &Path) {
    if path.extension().is_some_and(|it| it == "gguf") {
        std::fs::write(path, "").unwrap();
    } else {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join("config.json"), "{}").unwrap();
    }
}

/// The mistakes of some top-level fields of a spec.
pub(crate) fn part(text: &str) -> Vec<String> {
    let has = |field: &str| {
        let start = format!("{field}:");
        text.lines().any(|line| line.starts_with(&start))
    };
    let rest = FIELDS.iter().filter(|(field, _)| !has(field));
    let rest: String = rest.map(|(_, line)| *line).collect();
    whole(&(rest + text))
}

/// The mistake of a config file.
pub(crate) fn config(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evopressd.yaml");
    std::fs::write(&file, text).unwrap();
    let error = ServeFile::read(&file).err();
    error.map(|it| it.to_string()).into_iter().collect()
}

/// The mistake of other YAML.
pub(crate) fn yaml(text: &str) -> Vec<String> {
    let error = serde_yaml::from_str::<serde_yaml::Value>(text).err();
    error.map(|it| it.to_string()).into_iter().collect()
}
