//! GGUF files with something wrong in them.

use super::*;

/// A model of one block, right in every part.
pub(crate) fn small_gguf() -> GgufBuilder {
    weights(metadata(
        GgufBuilder::new().string("general.architecture", "llama"),
    ))
}

/// llama.cpp's names of a block's layers.
pub(crate) const LAYERS: [&str; 7] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
];

pub(crate) fn metadata(builder: GgufBuilder) -> GgufBuilder {
    metadata_of("llama", builder)
}

pub(crate) fn metadata_of(architecture: &str, builder: GgufBuilder) -> GgufBuilder {
    let key = |name: &str| format!("{architecture}.{name}");
    builder
        .number(&key("block_count"), 1)
        .number(&key("context_length"), 64)
        .number(&key("embedding_length"), 32)
        .number(&key("feed_forward_length"), 32)
        .number(&key("attention.head_count"), 2)
        .float(&key("attention.layer_norm_rms_epsilon"), 1e-5)
        .number(&key("vocab_size"), 8)
}

pub(crate) fn weights(builder: GgufBuilder) -> GgufBuilder {
    let mut builder = builder
        .tensor("token_embd.weight", &[8, 32], 0, 1024)
        .tensor("output_norm.weight", &[32], 0, 128);
    for norm in ["attn_norm", "ffn_norm"] {
        builder = builder.tensor(&format!("blk.0.{norm}.weight"), &[32], 0, 128);
    }
    for layer in LAYERS {
        builder = builder.tensor(&format!("blk.0.{layer}.weight"), &[32, 32], 2, 32 * 18);
    }
    builder
}

#[test]
fn wrong_gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let check = |bytes: &[u8], expected: &str| {
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(error(&file, folder.path()), expected);
    };
    let llama = || GgufBuilder::new().string("general.architecture", "llama");
    let good = small_gguf().bytes();
    std::fs::write(&file, &good).unwrap();
    Source::open(&file).unwrap();

    check(
        b"",
        "model.gguf: truncated header: the magic number needs 4 bytes at byte 0, the file has 0",
    );
    check(
        b"PK\x03\x04 zip",
        "model.gguf: not a GGUF file: begins with \"PK\\u{3}\\u{4}\", expected \"GGUF\"",
    );
    check(
        &small_gguf().version(1).bytes(),
        "model.gguf: GGUF version 1 is not supported, only 2 and 3 are",
    );
    check(
        &small_gguf().version(3_u32.swap_bytes()).bytes(),
        "model.gguf: GGUF version 50331648 (a big-endian file) is not supported, only 2 and 3 are",
    );
    let huge = [&good[..8], &u64::MAX.to_le_bytes()[..], &good[16..]].concat();
    check(
        &huge,
        "model.gguf: truncated or damaged header: 18446744073709551615 tensors at byte 8, the rest of the file has room for 267",
    );
    check(
        &llama()
            .entry("general.name", 8, &u64::MAX.to_le_bytes())
            .bytes(),
        "model.gguf: truncated or damaged header: 18446744073709551615 bytes of general.name at byte 93, the rest of the file has \
         room for 27",
    );
    let array = [
        4_u32.to_le_bytes().to_vec(),
        (1_u64 << 60).to_le_bytes().to_vec(),
    ]
    .concat();
    check(
        &llama()
            .entry("tokenizer.ggml.token_type", 9, &array)
            .bytes(),
        "model.gguf: truncated or damaged header: 1152921504606846976 elements of tokenizer.ggml.token_type at byte 110, the \
         rest of the file has room for 2",
    );
    check(
        &llama().entry("general.name", 77, &[0; 8]).bytes(),
        "model.gguf: metadata general.name has type 77, expected 0 to 12",
    );
    check(
        &llama().number("general.alignment", 24).bytes(),
        "model.gguf: general.alignment is 24, expected a power of two up to 65536",
    );
    check(
        &good[..700],
        "model.gguf: truncated or damaged header: 19 bytes of a tensor name at byte 677, the rest of the file has room for 15",
    );
    check(
        &good[..4000],
        "model.gguf: truncated: tensor blk.0.attn_v.weight ends at byte 4128, the file has 4000",
    );
    check(
        &metadata(GgufBuilder::new()).bytes(),
        "model.gguf: metadata general.architecture is missing",
    );
    check(
        &metadata(GgufBuilder::new().string("general.architecture", "mamba")).bytes(),
        "model.gguf: unsupported architecture \"mamba\"; supported: llama, mistral3, phi3, qwen2, qwen3, gemma2, gemma3, smollm3, olmo2, granite, qwen2moe, qwen3moe, olmoe, granitemoe",
    );
    check(
        &weights(llama()).bytes(),
        "model.gguf: metadata llama.embedding_length is missing",
    );
    check(
        &weights(metadata(llama().number("llama.expert_count", 8))).bytes(),
        "model.gguf: metadata llama.expert_count says that there are experts, but no block has a router (ffn_gate_inp)",
    );
    check(
        &weights(metadata(
            llama().string("llama.rope.scaling.type", "longrope"),
        ))
        .bytes(),
        "model.gguf: unsupported llama.rope.scaling.type: found longrope, supported: none, linear, yarn, or longrope with its factors",
    );
    let differing = [
        4_u32.to_le_bytes().to_vec(),
        2_u64.to_le_bytes().to_vec(),
        vec![2, 0, 0, 0, 1, 0, 0, 0],
    ]
    .concat();
    check(
        &weights(metadata(llama().entry(
            "llama.attention.head_count_kv",
            9,
            &differing,
        )))
        .bytes(),
        "model.gguf: unsupported llama.attention.head_count_kv: found [2, 1], supported: the same in all blocks",
    );
    check(
        &metadata(llama()).bytes(),
        "model.gguf: tensor token_embd.weight (model.embed_tokens.weight) of shape [8, 32] is missing",
    );
    let embedding = |shape: &[u64], type_id| {
        metadata(llama())
            .tensor("token_embd.weight", shape, type_id, 1024)
            .bytes()
    };
    check(
        &embedding(&[9, 32], 0),
        "model.gguf: tensor token_embd.weight has shape [9, 32], expected [8, 32]",
    );
    check(
        &embedding(&[8, 32], 16),
        "model.gguf: tensor token_embd.weight has type IQ2_XXS; supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, \
         Q2_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS",
    );
    check(
        &embedding(&[8, 32], 12),
        "model.gguf: tensor token_embd.weight has rows of 32 weights, its type Q4_K needs a multiple of 256",
    );
    check(
        &embedding(&[8, 0], 0),
        "model.gguf: tensor token_embd.weight has an extent of 0",
    );
    check(
        &embedding(&[1 << 40, 1 << 40], 0),
        "model.gguf: tensor token_embd.weight has an extent of 1099511627776",
    );

    let other = folder.path().join("model.bin");
    std::fs::write(&other, &good).unwrap();
    assert_eq!(
        error(&other, folder.path()),
        "model.bin is not a model: expected a folder with config.json or a .gguf file, found another file"
    );
    assert_eq!(
        error(&folder.path().join("absent.gguf"), folder.path()),
        "cannot read absent.gguf: No such file or directory (os error 2)"
    );
}
