//! De-quantized weights are, bit for bit, those of gguf-py, and those of the layouts' definitions.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use evopress_plugin::DType;
use evopress_source::Source;
use evopress_source::fixtures::{self, smollm2};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Expected {
    r#type: String,
    shape: Vec<i64>,
    sha256: String,
}

fn check(model: &Path, expected: &Path) {
    let source = Source::open(model).unwrap();
    let expected: BTreeMap<String, Expected> =
        serde_json::from_str(&std::fs::read_to_string(expected).unwrap()).unwrap();
    let tensors = source.tensors().iter();
    let mut names: Vec<&str> = tensors.map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, expected.keys().collect::<Vec<_>>());
    for (name, expected) in &expected {
        let tensor = source.read(name).unwrap();
        assert_eq!(tensor.shape(), expected.shape, "{name}");
        let dtype = match expected.r#type.as_str() {
            "F16" => DType::F16,
            "BF16" => DType::Bf16,
            _ => DType::F32,
        };
        assert_eq!(tensor.dtype(), dtype, "{name}");
        assert_eq!(
            digest(&tensor.to_bytes()),
            expected.sha256,
            "{name} of type {}",
            expected.r#type
        );
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn every_type() {
    let folder = fixtures::folder().join("quants");
    check(&folder.join("quants.gguf"), &folder.join("quants.json"));
}

/// Every layout of folders whose weights come quantized.
#[test]
fn every_layout_of_folders() {
    let mut folders: Vec<_> = std::fs::read_dir(fixtures::folder().join("quantized"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert_eq!(folders.len(), 13);
    for folder in folders {
        check(&folder, &folder.join("expected.json"));
    }
}

/// How weights came is known of each file, with the bytes of what is on disk.
#[test]
fn weights_as_delivered() {
    let check = |path: &Path, expected: Option<(&str, &[&str])>| {
        let found = Source::open(path).unwrap().delivered().unwrap();
        let found = found.as_ref().map(|it| {
            let weights = match path.is_dir() {
                true => path.join("model.safetensors"),
                false => path.to_owned(),
            };
            assert_eq!(it.size_bytes, weights.metadata().unwrap().len());
            let types: Vec<&str> = it.types.iter().map(String::as_str).collect();
            (it.method.clone(), types)
        });
        let expected = expected.map(|(method, types)| (method.to_owned(), types.to_vec()));
        assert_eq!(found, expected, "{}", path.display());
    };
    let quantized = |name: &str| fixtures::folder().join("quantized").join(name);
    check(&quantized("gptq-v2"), Some(("gptq", &["3-bit"])));
    check(&quantized("awq"), Some(("awq", &["4-bit"])));
    check(&quantized("fp8-blocks"), Some(("fp8", &["fp8"])));
    let mixed: (&str, &[&str]) = ("compressed-tensors", &["3-bit", "4-bit", "8-bit"]);
    check(&quantized("pack-mixed"), Some(mixed));
    check(&fixtures::folder().join("models/linear"), None);
    check(&fixtures::folder().join("models/llama3.gguf"), None);
    check(&smollm2(), Some(("gguf", &["Q4_1", "Q8_0"])));
}

/// Large tensors, on several threads.
#[test]
fn smollm2_model() {
    check(&smollm2(), &fixtures::folder().join("smollm2/weights.json"));
}
