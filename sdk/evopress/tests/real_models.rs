//! Perplexity of real models agrees with Hugging Face transformers, in f32, on the same token ids
//! and the same decoded weights. One process each: a model takes up to 3 GB.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use evopress::device::of_tests;
use evopress::evaluate::Reference;
use evopress::model::{Engine, Model};
use evopress::source::{Corpus, Source};
use evopress_source::fixtures::{self, gemma3, qwen2_coder};
use serde::Deserialize;
use tch::Kind;

const MAX_RELATIVE_ERROR: f64 = 1e-3;

#[derive(Deserialize)]
struct Expected {
    made_by: String,
    perplexity: f64,
    sequences: Vec<Vec<i64>>,
}

fn check(model: &Path, name: &str) {
    let file = fixtures::folder().join("real").join(name);
    let expected: Expected = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let source = Arc::new(Source::open(model).unwrap());
    let rule = source.bos_rule(&source.tokenizer().unwrap()).unwrap();
    if let Some(bos) = rule.prepended() {
        let mut firsts = expected.sequences.iter().map(|sequence| sequence[0]);
        assert!(firsts.all(|first| first == i64::from(bos)));
    }
    let length = expected.sequences[0].len();
    let corpus = Corpus::from_tokens(expected.sequences.concat(), length);
    let model = Model::open(&source, Kind::Float, of_tests(), vec![], u64::MAX).unwrap();
    let engine = Engine::new(model, 2, length, Arc::default()).unwrap();
    let found = Reference::new(&engine, corpus, |_| ()).unwrap().perplexity;
    let error = (found / expected.perplexity - 1.0).abs();
    println!("{found} against {}: {error:.1e}", expected.perplexity);
    assert!(
        error < MAX_RELATIVE_ERROR,
        "{found}, {} has {}",
        expected.made_by,
        expected.perplexity
    );
}

#[test]
fn gemma3_270m() {
    check(&gemma3(), "gemma-3-270m.json");
}

#[test]
fn qwen2_5_coder_0_5b() {
    check(&qwen2_coder(), "Qwen2.5-Coder-0.5B-Instruct.json");
}
