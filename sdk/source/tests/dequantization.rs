//! De-quantized weights are, bit for bit, those of gguf-py.

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

/// Large tensors, on several threads.
#[test]
fn smollm2_model() {
    check(&smollm2(), &fixtures::folder().join("smollm2/weights.json"));
}
