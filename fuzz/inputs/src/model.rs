//! What a run does with a model before it computes.

use std::path::Path;

use evopress_source::{Source, Tokenizer, gguf};

use crate::sentence::{check, checked};

/// Tensors with more numbers are not decoded: what is computed of each number is tested elsewhere.
const MAX_NUMBERS: i64 = 1 << 14;
/// Heads with more numbers have no rotation computed.
const MAX_HEAD_DIM: i64 = 1 << 10;

/// Texts with what tokenizers treat in ways of their own.
const TEXTS: [&str; 4] = [
    "",
    "The rain in Spain, 1234 times <s></s> [INST] it's\r\n\t  ",
    "\u{1F600}\u{200D} \u{0130}\u{FB01}e\u{0301} \u{4E2D}\u{6587} \0\u{FFFD}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa    b\n\n\nab",
];

/// Opens a model, which may be one that the project has written, and does all with it that a run
/// does with its files.
pub(crate) fn open_and_use(path: &Path) {
    if let Some(source) = open_and_read(path) {
        describe(&source);
        use_tokenizer(&source);
    }
}

/// Opens a model, and reads its tensors.
pub(crate) fn open_and_read(path: &Path) -> Option<Source> {
    let source = checked(Source::open_artifact(path))?;
    checked(source.delivered());
    read_tensors(&source);
    Some(source)
}

/// The model in the terms of both formats.
pub(crate) fn describe(source: &Source) {
    let _ = source.num_parameters();
    let _ = source.gguf_told_by_number();
    for path in source.digest_files() {
        assert!(path.is_absolute(), "a file of the model: {path:?}");
    }
    for note in checked(source.notes()).unwrap_or_default() {
        check(&note);
    }
    let attentions = source
        .spec()
        .blocks
        .iter()
        .filter_map(|it| it.attention.as_ref());
    for attention in attentions.take(8) {
        if let Some(rope) = attention
            .rope
            .as_ref()
            .filter(|it| it.width <= MAX_HEAD_DIM)
        {
            let _ = rope.inverse_frequencies(1);
            let _ = rope.inverse_frequencies(1 << 20);
            let _ = gguf::rope_factors(source.spec());
        }
    }
}

/// All tokenizers that there are of a model, and what they make of texts.
pub(crate) fn use_tokenizer(source: &Source) {
    if let Some(tokenizer) = checked(source.tokenizer()) {
        checked(source.bos_rule(&tokenizer));
        for text in TEXTS {
            encode(&tokenizer, text);
        }
    }
    if let Some(files) = checked(source.hf_files()) {
        assert!(!files.config.is_empty(), "a model without a configuration");
    }
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

/// All tensors by name, small ones decoded.
fn read_tensors(source: &Source) {
    for tensor in source.tensors() {
        let numbers: i64 = tensor.shape.iter().product();
        if let Some(stored) = checked(source.read(&tensor.name))
            && numbers <= MAX_NUMBERS
        {
            let bytes = stored.to_bytes();
            assert!(bytes.len() as i64 >= 2 * numbers, "{}", tensor.name);
        }
        checked(source.gguf_tensor(&tensor.name));
    }
}
