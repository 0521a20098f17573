//! Logits agree with Hugging Face transformers: f32 to 1e-4 relative, bf16 as well as transformers'
//! own bf16 does.
//!
//! The bf16 bound is on the root mean square of all errors: the largest of them is one number by
//! chance of rounding.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use evopress::device::of_tests;
use evopress::model::Model;
use evopress::source::Source;
use evopress_source::fixtures::{self, smollm2};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

const MAX_F32_ERROR: f64 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    bf16_relative_rms_error: f64,
    bf16_relative_max_error: f64,
}

/// Expected tensors of a fixture, by name.
fn tensor(folder: &Path, name: &str) -> Tensor {
    let tensors = Tensor::read_safetensors(folder.join("expected.safetensors")).unwrap();
    tensors
        .into_iter()
        .find(|(found, _)| found == name)
        .unwrap()
        .1
}

fn max_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    (found - expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[])
}

fn rms_error(found: &Tensor, expected: &Tensor) -> f64 {
    let rms = |tensor: &Tensor| tensor.square().mean(Kind::Double).sqrt().double_value(&[]);
    rms(&(found - expected)) / rms(expected)
}

/// Runs the model in both dtypes; `select` takes from all logits `[T, V]` what the fixture has.
fn check(model: &Path, folder: &Path, select: impl Fn(&Tensor) -> Tensor) {
    let source = Arc::new(Source::open(model).unwrap());
    let ids = Vec::<i64>::try_from(tensor(folder, "input_ids")).unwrap();
    let expected = tensor(folder, "logits");
    let errors: Expected =
        serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap())
            .unwrap();
    let run = |kind| {
        let model = Model::open(&source, kind, of_tests(), vec![], u64::MAX).unwrap();
        let logits = tch::no_grad(|| model.logits(&ids).unwrap());
        select(&logits.to_device(Device::Cpu))
    };

    let f32_error = max_error(&run(Kind::Float), &expected);
    let bf16 = run(Kind::BFloat16);
    let (bf16_rms, bf16_max) = (rms_error(&bf16, &expected), max_error(&bf16, &expected));
    let name = model.file_name().unwrap().to_string_lossy();
    println!(
        "{name}: f32 max {f32_error:.1e}; bf16 rms {bf16_rms:.2e} (transformers {:.2e}), max {bf16_max:.2e} ({:.2e})",
        errors.bf16_relative_rms_error, errors.bf16_relative_max_error
    );
    assert!(
        f32_error < MAX_F32_ERROR,
        "{name}: f32 error {f32_error:.2e}"
    );
    assert!(
        bf16_rms <= errors.bf16_relative_rms_error,
        "{name}: bf16 rms error {bf16_rms:.2e}"
    );
}

fn check_small(model: &str, folder: &str) {
    let models = fixtures::folder().join("models");
    check(
        &models.join(model),
        &models.join(folder),
        Tensor::shallow_clone,
    );
}

#[test]
fn grouped_query_attention_tied_head() {
    check_small("gqa-tied", "gqa-tied");
}

#[test]
fn llama3_rope_three_files() {
    check_small("llama3", "llama3");
}

#[test]
fn llama3_rope_gguf() {
    check_small("llama3.gguf", "llama3");
}

#[test]
fn linear_rope_wide_heads() {
    check_small("linear", "linear");
}

#[test]
fn biases() {
    check_small("biased", "biased");
}

#[test]
fn biases_gguf() {
    check_small("biased.gguf", "biased");
}

#[test]
fn multi_query_attention() {
    check_small("multi-query", "multi-query");
}

#[test]
fn smollm2_model() {
    let folder = fixtures::folder().join("smollm2");
    let (positions, tokens) = (tensor(&folder, "positions"), tensor(&folder, "tokens"));
    check(&smollm2(), &folder, |logits| {
        logits.index_select(0, &positions).index_select(1, &tokens)
    });
}

/// The selected logits above could agree while the rest of the vocabulary does not.
#[test]
fn smollm2_log_sum_exp() {
    let folder = fixtures::folder().join("smollm2");
    let source = Arc::new(Source::open(&smollm2()).unwrap());
    let model = Model::open(&source, Kind::Float, of_tests(), vec![], u64::MAX).unwrap();
    let ids = Vec::<i64>::try_from(tensor(&folder, "input_ids")).unwrap();
    let logits = tch::no_grad(|| model.logits(&ids).unwrap());
    let found = logits
        .to_device(Device::Cpu)
        .index_select(0, &tensor(&folder, "positions"))
        .logsumexp([-1], false);
    let error = max_error(&found, &tensor(&folder, "log_sum_exp"));
    assert!(error < 1e-5, "{error:.2e}");
}
