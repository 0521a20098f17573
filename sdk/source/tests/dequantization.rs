//! De-quantized weights are, bit for bit, those of gguf-py.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use evopress_source::Source;
use evopress_source::fixtures::{self, smollm2};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

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
    let mut names: Vec<&str> = source.tensor_names().collect();
    names.sort_unstable();
    assert_eq!(names, expected.keys().collect::<Vec<_>>());
    for (name, expected) in &expected {
        let tensor = source.tensor(name).unwrap();
        assert_eq!(tensor.size(), expected.shape, "{name}");
        let kind = match expected.r#type.as_str() {
            "F16" => Kind::Half,
            "BF16" => Kind::BFloat16,
            _ => Kind::Float,
        };
        assert_eq!(tensor.kind(), kind, "{name}");
        assert_eq!(
            digest(&tensor),
            expected.sha256,
            "{name} of type {}",
            expected.r#type
        );
    }
}

fn digest(tensor: &Tensor) -> String {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    Sha256::digest(&bytes)
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
