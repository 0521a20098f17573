//! Models on disk: both formats say the same, and what is wrong with a file is a sentence.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod as_they_are;
mod damaged;
mod experts;
mod experts_in_memory;
mod families;
mod fixture;
mod mistral3;
mod not_finite;
mod quantized_parts;
mod split_gguf;
mod supported_models;
mod wrong_folders;
mod wrong_gguf;
mod wrong_gguf_tokenizers;
mod wrong_quantized;

use std::path::{Path, PathBuf};

use evopress_plugin::DType;
use evopress_source::fixtures::{self, GgufBuilder, smollm2};
use evopress_source::{RopeScaling, Source, StoredTensor};
use serde_json::{Value, json};

fn models() -> PathBuf {
    fixtures::folder().join("models")
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
        assert_eq!(folder.spec(), gguf.spec());
        assert_eq!(folder.num_parameters(), gguf.num_parameters());
        for tensor in folder.tensors() {
            let read = |source: &Source| floats(&source.read(&tensor.name).unwrap());
            assert_eq!(read(&folder), read(&gguf), "{}", tensor.name);
        }
    }
}

#[test]
fn demo_model() {
    let source = Source::open(&smollm2()).unwrap();
    let spec = source.spec();
    assert_eq!(
        (spec.num_blocks(), spec.hidden_size, spec.vocab_size),
        (30, 576, 49152)
    );
    let attention = spec.first_attention().unwrap();
    assert_eq!(
        (
            attention.num_heads,
            attention.num_kv_heads,
            attention.head_dim
        ),
        (9, 3, 64)
    );
    let theta = attention.rope.as_ref().unwrap().theta;
    assert_eq!((spec.final_norm.eps, theta), (1e-5, 100_000.0));
    assert!(spec.head.tied);
    assert_eq!((spec.num_layers(), spec.first_layer(2)), (210, 14));
    assert_eq!(spec.layer_names()[13], "model.layers.1.mlp.down_proj");
    assert_eq!(
        (
            spec.bos_token_id,
            spec.eos_token_ids.as_slice(),
            spec.pad_token_id
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
        assert_eq!(source.spec(), copy.spec(), "{name}");
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
    let attention = source.spec().first_attention().unwrap();
    let rope = attention.rope.as_ref().unwrap();
    assert_eq!(rope.scaling, RopeScaling::Factors { factors });
    source.hf_files().unwrap().write(folder.path()).unwrap();
    assert_eq!(Source::open(folder.path()).unwrap().spec(), source.spec());
}

#[test]
fn unknown_tensor() {
    let source = Source::open(&models().join("linear")).unwrap();
    let error = source
        .read("model.layers.9.mlp.up_proj.weight")
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.ends_with("models/linear has no tensor model.layers.9.mlp.up_proj.weight"),
        "{error}"
    );
}

/// A tensor's elements in f32.
fn floats(tensor: &StoredTensor<'_>) -> Vec<f32> {
    let bytes = tensor.to_bytes();
    match tensor.dtype() {
        DType::F32 => {
            let (words, _) = bytes.as_chunks();
            words.iter().map(|word| f32::from_le_bytes(*word)).collect()
        }
        DType::Bf16 => {
            let (words, _) = bytes.as_chunks();
            let to_f32 = |word: &[u8; 2]| half::bf16::from_le_bytes(*word).to_f32();
            words.iter().map(to_f32).collect()
        }
        other => panic!("a tensor of {other}"),
    }
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
