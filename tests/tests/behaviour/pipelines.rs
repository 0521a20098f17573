//! What this repository shows is right: its pipelines, and the specs in its README.

use std::fs;
use std::path::{Path, PathBuf};

use evopress_tests::{Scratch, code_blocks, data_root, repository};
use serde_json::Value;

/// Every spec must be good, and say what a run would need.
fn check(scratch: &Scratch, specs: &[PathBuf]) {
    let roots = [data_root(), repository().join("pipelines"), repository()];
    let mut command = scratch.evopressd(&["validate", "--json"]);
    for root in roots {
        command.arg("--data-root").arg(root);
    }
    let output = command.args(specs).output().unwrap();
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), specs.len());
    for answer in &answers {
        assert_eq!(
            answer["mistakes"],
            serde_json::json!([]),
            "{}",
            answer["spec"]
        );
        for need in ["seconds", "memory_bytes", "disk_bytes"] {
            assert!(
                answer["needs"][need].as_f64() > Some(0.0),
                "{need} of {answer}"
            );
        }
    }
    assert_eq!(output.status.code(), Some(0));
}

fn specs_in(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut specs: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    specs.sort();
    specs
}

#[test]
fn every_pipeline_is_good() {
    let specs = specs_in(&repository().join("pipelines"));
    assert!(specs.len() >= 4, "{specs:?}");
    check(&Scratch::new(), &specs);
}

#[test]
fn every_spec_of_the_readme_is_good() {
    let text = fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks = code_blocks(&text).into_iter();
    let specs: Vec<String> = blocks
        .filter(|(language, code)| language.starts_with("yaml") && code.contains("kind: Pipeline"))
        .map(|(_, code)| code)
        .collect();
    assert!(!specs.is_empty(), "the README shows a spec");
    let scratch = Scratch::new();
    let paths: Vec<PathBuf> = specs
        .iter()
        .enumerate()
        .map(|(idx, spec)| scratch.write(&format!("readme-{idx}"), spec))
        .collect();
    check(&scratch, &paths);
}
