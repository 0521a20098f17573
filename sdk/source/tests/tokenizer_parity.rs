//! Tokenizers rebuilt from GGUF files give llama.cpp's ids.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use evopress_source::Source;
use evopress_source::fixtures::{self, gemma3, qwen2_coder, smollm2};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    made_by: String,
    /// What it puts before a text.
    bos: Option<u32>,
    special: Vec<Vec<u32>>,
    literal_where_different: BTreeMap<usize, Vec<u32>>,
}

fn check(model: &Path, ids: &str) {
    let folder = fixtures::folder().join("tokenizers");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let texts: Vec<String> = serde_json::from_str(&read("texts.json")).unwrap();
    let expected: Expected = serde_json::from_str(&read(ids)).unwrap();
    assert_eq!(texts.len(), expected.special.len());
    let source = Source::open(model).unwrap();
    let mut tokenizer = (*source.tokenizer().unwrap()).clone();
    assert_eq!(
        source.bos_rule(&tokenizer).unwrap().prepended(),
        expected.bos
    );
    let whole = tokenizer.encode("a", true).unwrap();
    let plain = tokenizer.encode("a", false).unwrap();
    let around: Vec<u32> = expected
        .bos
        .into_iter()
        .chain(plain.get_ids().to_vec())
        .collect();
    assert_eq!(whole.get_ids(), around, "{}", model.display());
    for literal in [false, true] {
        tokenizer.set_encode_special_tokens(literal);
        for (idx, text) in texts.iter().enumerate() {
            let special = &expected.special[idx];
            let expected_ids = if literal {
                expected
                    .literal_where_different
                    .get(&idx)
                    .unwrap_or(special)
            } else {
                special
            };
            let found = tokenizer.encode(text.as_str(), false).unwrap();
            assert_eq!(
                found.get_ids(),
                expected_ids,
                "{} differs from {} on {text:?} (literal: {literal}): {:?}",
                model.display(),
                expected.made_by,
                found.get_tokens()
            );
        }
    }
}

#[test]
fn smollm2_model() {
    check(&smollm2(), "SmolLM2-135M-Instruct.json");
}

#[test]
fn gemma3_model() {
    check(&gemma3(), "gemma-3-270m.json");
}

#[test]
fn qwen2_coder_model() {
    check(&qwen2_coder(), "Qwen2.5-Coder-0.5B-Instruct.json");
}

macro_rules! small_vocabularies {
    ($($name:ident: $file:literal),+ $(,)?) => {
        $(#[test]
        fn $name() {
            let model = fixtures::folder().join("tokenizers").join(concat!($file, ".gguf"));
            check(&model, concat!($file, ".json"));
        })+
    };
}

small_vocabularies! {
    default: "default",
    gpt_2: "gpt-2",
    olmo: "olmo",
    smollm: "smollm",
    refact: "refact",
    llama_bpe: "llama-bpe",
    dbrx: "dbrx",
    smaug_bpe: "smaug-bpe",
    qwen2: "qwen2",
    gpt_4o: "gpt-4o",
    tekken: "tekken",
    falcon: "falcon",
    deepseek_coder: "deepseek-coder",
    sentence_piece: "sentence-piece",
    sentence_piece_no_prefix: "sentence-piece-no-prefix",
    like_gemma: "like-gemma",
}

#[test]
fn text_survives_the_round_trip() {
    let tokenizer = Source::open(&smollm2()).unwrap().tokenizer().unwrap();
    let text = "  1024 apples,\n\tcafé 日本 😀 <|im_end|>";
    let ids = tokenizer.encode(text, false).unwrap();
    assert_eq!(tokenizer.decode(ids.get_ids(), false).unwrap(), text);
    assert_eq!(
        tokenizer.decode(ids.get_ids(), true).unwrap(),
        text.replace("<|im_end|>", "")
    );
}
