//! GGUF files whose tokenizer cannot be rebuilt.

use super::wrong_gguf::*;
use super::*;

/// An array of texts, as a value of metadata.
fn strings(texts: &[&str]) -> Vec<u8> {
    let mut value = [
        8_u32.to_le_bytes().to_vec(),
        (texts.len() as u64).to_le_bytes().to_vec(),
    ]
    .concat();
    for text in texts {
        value.extend((text.len() as u64).to_le_bytes());
        value.extend(text.as_bytes());
    }
    value
}

/// What is written has every id: at a missing one, the library of tokenizers prints to standard
/// output.
#[test]
fn tokens_of_one_text_all_keep_an_id() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let builder = metadata(GgufBuilder::new().string("general.architecture", "llama"))
        .string("tokenizer.ggml.model", "gpt2")
        .entry("tokenizer.ggml.tokens", 9, &strings(&["a", "b", "a", "ab"]))
        .entry("tokenizer.ggml.merges", 9, &strings(&["a b"]));
    std::fs::write(&file, weights(builder).bytes()).unwrap();
    let source = Source::open(&file).unwrap();
    let written: Value = serde_json::from_str(&source.hf_files().unwrap().tokenizer).unwrap();
    let vocab = written["model"]["vocab"].as_object().unwrap();
    let mut ids: Vec<u64> = vocab.values().map(|id| id.as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3]);
    assert_eq!(vocab["a"], 2, "the later counts");
}

#[test]
fn wrong_gguf_tokenizers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let check = |add: &dyn Fn(GgufBuilder) -> GgufBuilder, expected: &str| {
        let builder = add(metadata(
            GgufBuilder::new().string("general.architecture", "llama"),
        ));
        std::fs::write(&file, weights(builder).bytes()).unwrap();
        let error = Source::open(&file)
            .unwrap()
            .tokenizer()
            .unwrap_err()
            .to_string();
        assert_eq!(
            error.replace(&format!("{}/", folder.path().display()), ""),
            expected
        );
    };
    let with_tokens = |builder: GgufBuilder, model: &str| {
        builder.string("tokenizer.ggml.model", model).entry(
            "tokenizer.ggml.tokens",
            9,
            &strings(&["a", "b", "ab"]),
        )
    };
    check(
        &|builder| builder,
        "model.gguf: tokenizer: the file has none (metadata tokenizer.ggml.model is missing)",
    );
    check(
        &|builder| builder.string("tokenizer.ggml.model", "gpt2"),
        "model.gguf: tokenizer: metadata tokenizer.ggml.tokens is missing or no array of strings",
    );
    check(
        &|builder| with_tokens(builder, "rwkv"),
        "model.gguf: unsupported tokenizer.ggml.model: found \"rwkv\", supported: gpt2, llama",
    );
    check(
        &|builder| with_tokens(builder, "gpt2"),
        "model.gguf: tokenizer: metadata tokenizer.ggml.merges is missing or no array of strings",
    );
    check(
        &|builder| {
            with_tokens(builder, "gpt2").entry("tokenizer.ggml.merges", 9, &strings(&["ab"]))
        },
        "model.gguf: tokenizer: merge \"ab\", expected two tokens with a space between",
    );
    check(
        &|builder| {
            with_tokens(builder, "gpt2").entry("tokenizer.ggml.merges", 9, &strings(&["a c"]))
        },
        "model.gguf: tokenizer: Token `c` out of vocabulary",
    );
    check(
        &|builder| with_tokens(builder, "llama"),
        "model.gguf: tokenizer: metadata tokenizer.ggml.scores is missing or not 3 floats",
    );
    check(
        &|builder| with_tokens(builder, "llama").number("tokenizer.ggml.token_type", 1),
        "model.gguf: tokenizer: 3 tokens, but types: 1",
    );
    check(
        &|builder| {
            let merges = strings(&["a b"]);
            let builder = with_tokens(builder, "gpt2").entry("tokenizer.ggml.merges", 9, &merges);
            builder.number("tokenizer.ggml.bos_token_id", 3).entry(
                "tokenizer.ggml.add_bos_token",
                7,
                &[1],
            )
        },
        "model.gguf: tokenizer: tokenizer.ggml.bos_token_id is 3, the vocabulary has 3 tokens",
    );
    check(
        &|builder| with_tokens(builder.string("tokenizer.ggml.pre", "smolm"), "gpt2"),
        "model.gguf: unsupported tokenizer.ggml.pre: found \"smolm\", supported: default, gpt-2, phi-2, mpt, olmo, jais, \
         trillion, granite-docling, exaone4, smollm, starcoder, refact, command-r, codeshell, exaone, minerva-7b, \
         llama-bpe, llama3, llama-v3, falcon3, pixtral, dbrx, smaug-bpe, qwen2, stablelm2, hunyuan, deepseek-r1-qwen, \
         gpt-4o, llama4, tekken, falcon, deepseek-coder",
    );
}
