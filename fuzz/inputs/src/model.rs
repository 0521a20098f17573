//! What a run does with a model before it computes.

use std::path::Path;

use evopress_source::{Source, Tokenizer, gguf};

use crate::sentence::{check, checked};

/// Tensors with more numbers are not decoded: what is computed of each number is tested elsewhere.
const MAX_NUMBERS: i64 = 1 << 12;
/// Heads with more numbers have no rotation computed, nor have later blocks.
const MAX_HEAD_DIM: i64 = 1 << 10;
const MAX_ROTATIONS: usize = 4;

/// Texts with what tokenizers treat in ways of their own.
const TEXTS: [&str; 4] = [
    "",
    "The rain in Spain, 1234 times <s></s> [INST] it's\r\n\t  ",
    "\u{1F600}\u{200D} \u{0130}\u{FB01}e\u{0301} \u{4E2D}\u{6587} \0\u{FFFD}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa    b\n\n\nab",
];

/// Opens a model, which may be one that the project has written, and reads its tensors.
pub(crate) fn open_and_read(path: &Path) -> Option<Source> {
    let source = checked(Source::open_artifact(path))?;
    checked(source.delivered());
    let _ = source.num_parameters();
    checked(source.check_numbers(None));
    for tensor in source.tensors() {
        let numbers: i64 = tensor.shape.iter().product();
        let stored = checked(source.read(&tensor.name));
        if let Some(stored) = stored.filter(|_| numbers <= MAX_NUMBERS) {
            let bytes = stored.to_bytes();
            assert!(bytes.len() as i64 >= 2 * numbers, "{}", tensor.name);
        }
        checked(source.gguf_tensor(&tensor.name));
    }
    Some(source)
}

/// The model in the terms of both formats.
pub(crate) fn describe(source: &Source) {
    let _ = source.gguf_told_by_number();
    assert!(!source.digest_files().is_empty(), "a model of no files");
    if let Some(files) = checked(source.hf_files()) {
        assert!(!files.config.is_empty(), "a model without a configuration");
    }
    for note in checked(source.notes()).unwrap_or_default() {
        check(&note);
    }
    if let Some(entries) = checked(source.gguf_entries()) {
        assert!(!entries.to_bytes().is_empty(), "a model without metadata");
    }
    let blocks = source.spec().blocks.iter().take(MAX_ROTATIONS);
    let attentions = blocks.filter_map(|it| it.attention.as_ref());
    for rope in attentions.filter_map(|it| it.rope.as_ref()) {
        if rope.width <= MAX_HEAD_DIM {
            let _ = rope.inverse_frequencies(1);
            let _ = rope.inverse_frequencies(1 << 20);
            let _ = gguf::rope_factors(source.spec());
        }
    }
}

/// The tokenizer of a model, and what it makes of texts.
pub(crate) fn use_tokenizer(source: &Source) {
    if let Some(tokenizer) = checked(source.tokenizer()) {
        checked(source.bos_rule(&tokenizer));
        for text in TEXTS {
            encode(&tokenizer, text);
        }
    }
}

/// The tokenizers that the model's artifacts have.
pub(crate) fn use_written_tokenizers(source: &Source) {
    for tokenizer in [source.hf_tokenizer(), source.gguf_tokenizer()] {
        if let Some(tokenizer) = checked(tokenizer) {
            encode(&tokenizer, TEXTS[1]);
        }
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) {
    for special in [false, true] {
        checked(evopress_source::encode(tokenizer, text, special));
    }
}
