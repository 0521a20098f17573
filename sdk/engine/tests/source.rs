//! Models on disk: both formats say the same, and what is wrong with a file is a sentence.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};

use common::{GgufBuilder, fixtures, smollm2};
use evopress::source::{RopeScaling, Source};
use proptest::prelude::*;
use serde_json::{Value, json};
use tch::Kind;

fn models() -> PathBuf {
    fixtures().join("models")
}

/// The error of opening `path`, with the folder's name taken out.
fn error(path: &Path, folder: &Path) -> String {
    match Source::open(path) {
        Ok(_) => panic!("{} opens", path.display()),
        Err(error) => error
            .to_string()
            .replace(&format!("{}/", folder.display()), ""),
    }
}

#[test]
fn gguf_and_folder_agree() {
    for name in ["llama3", "biased"] {
        let folder = Source::open(&models().join(name)).unwrap();
        let gguf = Source::open(&models().join(format!("{name}.gguf"))).unwrap();
        assert_eq!(folder.config(), gguf.config());
        assert_eq!(folder.num_parameters(), gguf.num_parameters());
        assert!(folder.tensor_names().eq(gguf.tensor_names()));
        for name in folder.tensor_names() {
            let (a, b) = (folder.tensor(name).unwrap(), gguf.tensor(name).unwrap());
            assert_eq!(a.to_kind(Kind::Float), b, "{name}");
        }
    }
}

#[test]
fn demo_model() {
    let source = Source::open(&smollm2()).unwrap();
    let config = source.config();
    assert_eq!(
        (config.num_blocks, config.hidden_size, config.vocab_size),
        (30, 576, 49152)
    );
    assert_eq!(
        (config.num_heads, config.num_kv_heads, config.head_dim),
        (9, 3, 64)
    );
    assert_eq!((config.rms_norm_eps, config.rope.theta), (1e-5, 100_000.0));
    assert!(config.tie_word_embeddings);
    assert_eq!(
        (
            config.bos_token_id,
            config.eos_token_ids.as_slice(),
            config.pad_token_id
        ),
        (Some(1), &[2][..], Some(2))
    );
    assert_eq!(source.num_parameters(), 134_515_008);
    let files = source.hf_files().unwrap();
    assert_eq!(files.license.as_deref(), Some("apache-2.0"));
    assert_eq!(files.tokenizer_config["eos_token"], "<|im_end|>");
    assert!(
        files.tokenizer_config["chat_template"]
            .as_str()
            .unwrap()
            .contains("<|im_start|>")
    );
    assert_eq!(source.digest_files(), [smollm2()]);
}

/// Everything but the weights, written and read again, is the same model.
#[test]
fn written_files_read_back() {
    for name in [
        "gqa-tied",
        "llama3",
        "linear",
        "biased",
        "multi-query",
        "llama3.gguf",
        "biased.gguf",
    ] {
        let path = models().join(name);
        let source = Source::open(&path).unwrap();
        let Ok(files) = source.hf_files() else {
            assert!(name.ends_with(".gguf"), "{name}");
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().contains("model") {
                std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        files.write(folder.path()).unwrap();
        let copy = Source::open(folder.path()).unwrap();
        assert_eq!(source.config(), copy.config(), "{name}");
        let ids = |source: &Source| {
            source
                .tokenizer()
                .unwrap()
                .encode("the rain", false)
                .unwrap()
                .get_ids()
                .to_vec()
        };
        assert_eq!(ids(&source), ids(&copy), "{name}");
    }
}

/// Rope factors that follow no rule come back from config.json.
#[test]
fn rope_factors_survive() {
    let folder = copy_of("multi-query");
    let factors: Vec<f64> = (0..4).map(|idx| 1.0 + f64::from(idx)).collect();
    edit(folder.path(), |config| {
        config["rope_scaling"] = json!({"rope_type": "longrope", "factor": 1.0, "attention_factor": 1.0,
            "short_factor": factors, "long_factor": factors, "original_max_position_embeddings": 128});
    });
    let source = Source::open(folder.path()).unwrap();
    assert_eq!(
        source.config().rope.scaling,
        RopeScaling::Factors { factors }
    );
    source.hf_files().unwrap().write(folder.path()).unwrap();
    assert_eq!(
        Source::open(folder.path()).unwrap().config(),
        source.config()
    );
}

#[test]
fn unknown_tensor() {
    let source = Source::open(&models().join("linear")).unwrap();
    let error = source
        .tensor("model.layers.9.mlp.up_proj.weight")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("models/linear has no tensor model.layers.9.mlp.up_proj.weight"),
        "{error}"
    );
}

fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(models().join(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn edit(folder: &Path, change: impl FnOnce(&mut Value)) {
    let file = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&file, format!("{config:#}")).unwrap();
}

#[test]
fn wrong_folders() {
    let check = |change: &dyn Fn(&Path), expected: &str| {
        let folder = copy_of("gqa-tied");
        change(folder.path());
        assert_eq!(
            error(folder.path(), folder.path())
                .replace(&folder.path().display().to_string(), "FOLDER"),
            expected
        );
    };
    let set = |key: &'static str, value: Value| {
        move |folder: &Path| edit(folder, |config| config[key] = value.clone())
    };
    let weights = |change: &'static dyn Fn(Vec<u8>) -> Vec<u8>| {
        move |folder: &Path| {
            let file = folder.join("model.safetensors");
            std::fs::write(&file, change(std::fs::read(&file).unwrap())).unwrap();
        }
    };
    let header = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let file = folder.join("model.safetensors");
            let bytes = std::fs::read(&file).unwrap();
            let at = bytes
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .unwrap();
            std::fs::write(
                &file,
                [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat(),
            )
            .unwrap();
        }
    };
    let remove =
        |name: &'static str| move |folder: &Path| std::fs::remove_file(folder.join(name)).unwrap();
    let index = |text: &'static str| {
        move |folder: &Path| {
            std::fs::write(folder.join("model.safetensors.index.json"), text).unwrap()
        }
    };

    check(
        &remove("config.json"),
        "FOLDER is not a model: expected a folder with config.json or a .gguf file, found a folder without config.json",
    );
    check(
        &remove("model.safetensors"),
        "FOLDER is not a model: expected a folder with config.json or a .gguf file, found a folder without \
         model.safetensors or model.safetensors.index.json",
    );
    check(
        &|folder| std::fs::write(folder.join("config.json"), "{").unwrap(),
        "config.json: not a JSON object: EOF while parsing an object at line 1 column 1",
    );
    check(
        &set("model_type", json!("mamba")),
        "config.json: unsupported architecture \"mamba\"; supported: llama",
    );
    check(
        &set("hidden_size", json!("wide")),
        "config.json: invalid type: string \"wide\", expected i64 at line 11 column 23",
    );
    check(
        &set("num_attention_heads", json!(3)),
        "config.json: 3 heads cannot share 2 key/value heads: the one must divide the other",
    );
    check(
        &set("num_hidden_layers", json!(1_000_000_000_000_u64)),
        "config.json: number of blocks is 1000000000000, allowed: 1 to 4096",
    );
    check(
        &set("rope_scaling", json!({"type": "dynamic", "factor": 2.0})),
        "config.json: unsupported rope type: found dynamic, supported: default, linear, llama3",
    );
    check(
        &set("rope_scaling", json!({"rope_type": "yarn", "factor": 2.0})),
        "config.json: unsupported rope type: found yarn, supported: default, linear, llama3",
    );
    check(
        &set("rope_scaling", json!({"rope_type": "llama3"})),
        "config.json: rope type llama3 without factor",
    );
    check(
        &set("hidden_act", json!("gelu")),
        "config.json: unsupported hidden_act: found gelu, supported: silu",
    );
    check(
        &set("quantization_config", json!({"quant_method": "gptq"})),
        "config.json: unsupported quantization_config: found quantized weights, supported: F32, F16 or BF16 weights",
    );
    check(
        &set("num_hidden_layers", json!(3)),
        "FOLDER: tensor model.layers.2.input_layernorm.weight of shape [32] is missing",
    );
    check(
        &set("intermediate_size", json!(64)),
        "model.safetensors: tensor model.layers.0.mlp.gate_proj.weight has shape [48, 32], expected [64, 32]",
    );
    check(
        &header("\"BF16\"", "\"I16\" "),
        "model.safetensors: tensor model.embed_tokens.weight has type I16; supported: F32, F16, BF16",
    );
    check(
        &header("\"BF16\"", "\"F32\" "),
        "model.safetensors: tensor model.embed_tokens.weight spans bytes 0 to 18432, its 9216 numbers of type F32 need 36864",
    );
    check(
        &weights(&|bytes| bytes[..20_000].to_vec()),
        "model.safetensors: truncated: tensor model.embed_tokens.weight ends at byte 20472, the file has 20000",
    );
    check(
        &weights(&|bytes| bytes[..100].to_vec()),
        "model.safetensors: truncated: header of 2032 bytes, the file goes on for 92",
    );
    check(
        &weights(&|bytes| bytes[..3].to_vec()),
        "model.safetensors: truncated: a safetensors file begins with 8 bytes of header length, this one has 3",
    );
    check(
        &weights(&|_| vec![0xff; 64]),
        "model.safetensors: not a safetensors file: header of 18446744073709551615 bytes, allowed: 100000000",
    );
    check(
        &header("{", "["),
        "model.safetensors: safetensors header: invalid type: sequence, expected a map at line 1 column 0",
    );
    check(
        &index(r#"{"weight_map": {"a": "../other.safetensors"}}"#),
        "model.safetensors.index.json: \"../other.safetensors\" is not the name of a file in the same folder",
    );
    check(
        &index(r#"{"weight_map": {"a": "absent.safetensors"}}"#),
        "cannot read absent.safetensors: No such file or directory (os error 2)",
    );
}

/// A model of one block, right in every part.
fn small_gguf() -> GgufBuilder {
    weights(metadata(
        GgufBuilder::new().string("general.architecture", "llama"),
    ))
}

fn metadata(builder: GgufBuilder) -> GgufBuilder {
    builder
        .number("llama.block_count", 1)
        .number("llama.context_length", 64)
        .number("llama.embedding_length", 32)
        .number("llama.feed_forward_length", 32)
        .number("llama.attention.head_count", 2)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .number("llama.vocab_size", 8)
}

fn weights(builder: GgufBuilder) -> GgufBuilder {
    let layers = [
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    let mut builder = builder
        .tensor("token_embd.weight", &[8, 32], 0, 1024)
        .tensor("output_norm.weight", &[32], 0, 128);
    for norm in ["attn_norm", "ffn_norm"] {
        builder = builder.tensor(&format!("blk.0.{norm}.weight"), &[32], 0, 128);
    }
    for layer in layers {
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
        "model.gguf: unsupported architecture \"mamba\"; supported: llama",
    );
    check(
        &weights(llama()).bytes(),
        "model.gguf: metadata llama.embedding_length is missing",
    );
    check(
        &weights(metadata(llama().number("llama.expert_count", 8))).bytes(),
        "model.gguf: unsupported llama.expert_count: found 8, supported: 0",
    );
    check(
        &weights(metadata(llama().string("llama.rope.scaling.type", "yarn"))).bytes(),
        "model.gguf: unsupported llama.rope.scaling.type: found yarn, supported: none, linear",
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
         Q2_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K",
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

#[test]
fn wrong_gguf_tokenizers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let strings = |texts: &[&str]| {
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
    };
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
         tekken, falcon, deepseek-coder",
    );
}

/// Opens and reads everything; whatever happens must not be a panic.
fn read_all(path: &Path) {
    if let Ok(source) = Source::open(path) {
        let _ = source.tokenizer();
        let _ = source.hf_files();
        for name in source.tensor_names() {
            drop(source.tensor(name).unwrap());
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let good = small_gguf().bytes();
    // The last tensor is followed by nothing but its own padding.
    for length in (0..good.len() - 32).step_by(7) {
        std::fs::write(&file, &good[..length]).unwrap();
        assert!(
            Source::open(&file).is_err(),
            "{length} of {} bytes",
            good.len()
        );
    }
    let copy = copy_of("gqa-tied");
    let shard = copy.path().join("model.safetensors");
    let good = std::fs::read(&shard).unwrap();
    for length in (0..good.len()).step_by(211) {
        std::fs::write(&shard, &good[..length]).unwrap();
        assert!(
            Source::open(copy.path()).is_err(),
            "{length} of {} bytes",
            good.len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_gguf_files_never_panic(
        changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..6),
        which in 0..3_usize,
    ) {
        let name = ["quants/quants.gguf", "tokenizers/smollm.gguf", "tokenizers/sentence-piece.gguf"][which];
        let mut bytes = std::fs::read(fixtures().join(name)).unwrap();
        // The header, where lengths and types are.
        let header = bytes.len().min(6000) as f64;
        for (at, value) in changes {
            bytes[(at * header) as usize] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        std::fs::write(&file, bytes).unwrap();
        read_all(&file);
    }

    #[test]
    fn damaged_safetensors_files_never_panic(changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..6)) {
        let folder = copy_of("gqa-tied");
        let file = folder.path().join("model.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        for (at, value) in changes {
            bytes[(at * 2060.0) as usize] = value;
        }
        std::fs::write(&file, bytes).unwrap();
        read_all(folder.path());
    }
}
