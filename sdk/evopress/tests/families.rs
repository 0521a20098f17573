//! Logits of every family agree with transformers', in f32 to 1e-4 relative: on small random models
//! whose configurations exercise every switch.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evopress::device::of_tests;
use evopress::model::Model;
use evopress::source::Source;
use evopress_source::fixtures;
use tch::{Device, Kind, Tensor};

const MAX_ERROR: f64 = 1e-4;

fn folder(name: &str) -> PathBuf {
    fixtures::folder().join("families").join(name)
}

fn expected(folder: &Path) -> HashMap<String, Tensor> {
    let tensors = Tensor::read_safetensors(folder.join("expected.safetensors")).unwrap();
    tensors.into_iter().collect()
}

fn error(model: &Model, ids: &Tensor, expected: &Tensor) -> f64 {
    let ids = Vec::<i64>::try_from(ids).unwrap();
    let found = tch::no_grad(|| model.logits(&ids).unwrap()).to_device(Device::Cpu);
    assert_eq!(found.size(), expected.size());
    (&found - expected).abs().max().double_value(&[]) / expected.abs().max().double_value(&[])
}

/// The model in f32, on a sequence that is longer than its windows and its original context, and on
/// a short one where that is another computation.
fn check(name: &str, has_short: bool) {
    let source = Arc::new(Source::open(&folder(name)).unwrap());
    let model = Model::open(&source, Kind::Float, of_tests(), vec![], u64::MAX).unwrap();
    let expected = expected(&folder(name));
    let long = error(&model, &expected["input_ids"], &expected["logits"]);
    println!("{name}: {long:.1e}");
    assert!(long < MAX_ERROR, "{name}: error {long:.2e}");
    assert_eq!(expected.contains_key("short_ids"), has_short, "{name}");
    if has_short {
        let short = error(&model, &expected["short_ids"], &expected["short_logits"]);
        assert!(
            short < MAX_ERROR,
            "{name}: error {short:.2e} of a short text"
        );
    }
}

#[test]
fn llama_with_yarn() {
    check("yarn", false);
    check("yarn-turns", false);
}

#[test]
fn mistral() {
    check("mistral", false);
}

#[test]
fn ministral() {
    check("ministral", false);
}

#[test]
fn ministral3() {
    check("ministral3", true);
}

#[test]
fn phi3_whole_heads() {
    check("phi3", true);
}

#[test]
fn phi3_parts_of_heads_in_windows() {
    check("phi3-partial", true);
}

#[test]
fn qwen2() {
    check("qwen2", false);
}

#[test]
fn qwen2_windows() {
    check("qwen2-windows", false);
}

#[test]
fn qwen3() {
    check("qwen3", false);
}

#[test]
fn gemma2() {
    check("gemma2", false);
}

#[test]
fn gemma3() {
    check("gemma3", false);
}

#[test]
fn gemma3_text_part() {
    check("gemma3-nested", false);
}

#[test]
fn smollm3() {
    check("smollm3", false);
}

#[test]
fn smollm3_biases_and_windows() {
    check("smollm3-biased", false);
}

#[test]
fn olmo2() {
    check("olmo2", false);
}

#[test]
fn olmo3() {
    check("olmo3", false);
}

#[test]
fn granite() {
    check("granite", false);
}
