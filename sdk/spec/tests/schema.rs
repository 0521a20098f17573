//! The schema file beside the pipelines is the schema, and the pipelines in the repository are
//! right.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use evopress_spec::{Roots, check, render, schema};

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines")
}

/// `UPDATE_SCHEMA=1 cargo test -p evopress-spec` writes the file anew.
#[test]
fn the_schema_file_is_true() {
    let path = pipelines().join("pipeline.schema.json");
    let expected = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(
        found == expected,
        "pipeline.schema.json is out of date: UPDATE_SCHEMA=1 cargo test -p evopress-spec"
    );
}

#[test]
fn the_schema_describes_every_field() {
    fn walk(schema: &serde_json::Value, path: &str) {
        let fields = schema["properties"].as_object();
        for (name, field) in fields.into_iter().flatten() {
            let path = format!("{path}.{name}");
            let description = field["description"].as_str().unwrap_or_default();
            assert!(description.len() > 10, "{path} has no description");
            if field["type"] == "integer" || field["type"] == "number" {
                let bounded = |a: &str, b: &str| !field[a].is_null() || !field[b].is_null();
                assert!(
                    bounded("minimum", "exclusiveMinimum"),
                    "{path} has no lower bound"
                );
                assert!(
                    bounded("maximum", "exclusiveMaximum"),
                    "{path} has no upper bound"
                );
            }
            let told = |key: &str| !field[key].is_null();
            let required = schema["required"]
                .as_array()
                .is_some_and(|all| all.contains(&name.as_str().into()));
            let leaf = field["properties"].is_null()
                && field["type"] != "array"
                && path != "$.metadata.labels";
            let said = description.contains("Default: ") || told("default");
            let optional = path.starts_with("$.target.") || path.contains(".gate.");
            assert!(
                !leaf || required || said || optional,
                "{path} does not say its default"
            );
            walk(field, &path);
            walk(&field["items"], &format!("{path}[]"));
        }
        if !schema["properties"].is_null() {
            assert_eq!(
                schema["additionalProperties"], false,
                "{path} lets unknown fields through"
            );
        }
    }
    let schema = schema();
    assert!(schema["title"].is_string() && schema["description"].is_string());
    walk(&schema, "$");
}

#[test]
fn the_schema_is_a_schema_and_its_example_satisfies_it() {
    let schema = schema();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    assert!(jsonschema::draft7::meta::is_valid(&schema));
    let example = &schema["examples"][0];
    assert!(
        validator.is_valid(example),
        "{:?}",
        validator.iter_errors(example).collect::<Vec<_>>()
    );
}

/// Models and texts are fetched elsewhere, so files with the names that the pipelines use stand in
/// for them.
#[test]
fn every_pipeline_in_the_repository_is_right() {
    let data = tempfile::tempdir().unwrap();
    fs::create_dir_all(data.path().join("models")).unwrap();
    fs::create_dir_all(data.path().join("text")).unwrap();
    for file in [
        "models/Qwen2.5-Coder-0.5B-Instruct.gguf",
        "models/gemma-3-270m.gguf",
        "models/SmolLM2-135M-Instruct.gguf",
        "text/calibration.txt",
        "text/evaluation.txt",
    ] {
        fs::write(data.path().join(file), file).unwrap();
    }
    let mut num_pipelines = 0;
    for entry in fs::read_dir(pipelines()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# yaml-language-server: $schema=pipeline.schema.json\n"),
            "{}",
            path.display()
        );
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let roots = Roots {
            spec_dir: data.path().into(),
            data_roots: vec![],
        };
        let plan = check(&text, &name, &roots);
        let plan =
            plan.unwrap_or_else(|mistakes| panic!("{}", render(&mistakes, &text, &name, false)));
        assert_eq!(format!("{}.yaml", plan.name), name);
        num_pipelines += 1;
    }
    assert!(num_pipelines >= 3);
}
