//! llama.cpp's own architecture of Ministral 3, by the keys that its converter writes.

use evopress_source::spec::QueryGrowth;

use super::*;
use crate::wrong_gguf::{metadata_of, weights};

fn file(add: impl Fn(GgufBuilder) -> GgufBuilder) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let named = GgufBuilder::new().string("general.architecture", "mistral3");
    let whole = weights(add(metadata_of("mistral3", named)));
    std::fs::write(&path, whole.bytes()).unwrap();
    (folder, path)
}

fn yarn(builder: GgufBuilder) -> GgufBuilder {
    builder
        .string("mistral3.rope.scaling.type", "yarn")
        .float("mistral3.rope.scaling.factor", 16.0)
        .number("mistral3.rope.scaling.original_context_length", 4)
        .float("mistral3.rope.scaling.yarn_beta_fast", 24.0)
        .float("mistral3.rope.scaling.yarn_beta_slow", 2.0)
}

fn scaling(path: &Path) -> (RopeScaling, Option<QueryGrowth>) {
    let source = Source::open(path).unwrap();
    assert_eq!(source.spec().architecture, "ministral3");
    let attention = source.spec().first_attention().unwrap();
    let rope = attention.rope.as_ref().unwrap();
    (rope.scaling.clone(), attention.query_growth)
}

#[test]
fn the_keys_of_the_converter_are_read() {
    let expected = |attention_factor| RopeScaling::Yarn {
        factor: 16.0,
        beta_fast: 24.0,
        beta_slow: 2.0,
        original_max_position_embeddings: 4.0,
        attention_factor,
        is_truncated: true,
    };
    let (_folder, path) = file(|it| {
        yarn(it)
            .float("mistral3.rope.scaling.yarn_log_multiplier", 1.0)
            .float("mistral3.attention.temperature_scale", 0.1)
    });
    let growth = QueryGrowth {
        weight: 0.1,
        step: 4.0,
    };
    assert_eq!(scaling(&path), (expected(1.0), Some(growth)));
    // Without its multiplier YaRN has its usual factor, and Mistral Small no growth.
    let (_folder, path) = file(yarn);
    let usual = 1.0 + 0.1 * 16.0_f64.ln();
    assert_eq!(scaling(&path), (expected(usual), None));
}

/// transformers always asks a Ministral 3 for its growth: none is written as one by nothing.
#[test]
fn folders_of_both_are_read_again() {
    let grown = |it: GgufBuilder| it.float("mistral3.attention.temperature_scale", 0.1);
    for (name, add) in [
        ("plain", &(|it| it) as &dyn Fn(GgufBuilder) -> GgufBuilder),
        ("growing", &grown),
        ("yarn", &yarn),
        ("both", &|it| grown(yarn(it))),
    ] {
        let (folder, path) = file(add);
        let source = Source::open(&path).unwrap();
        let config = fixtures::config_of(&source);
        assert!(
            config["rope_scaling"]["llama_4_scaling_beta"].is_number(),
            "{name}"
        );
        std::fs::write(folder.path().join("config.json"), json!(config).to_string()).unwrap();
        std::fs::copy(
            models().join("linear/model.safetensors"),
            folder.path().join("model.safetensors"),
        )
        .unwrap();
        let again = fixtures::spec_of_folder(folder.path()).unwrap();
        assert_eq!(&again, source.spec(), "{name}");
    }
}

#[test]
fn other_keys_are_refused_by_name() {
    let check = |add: &dyn Fn(GgufBuilder) -> GgufBuilder, expected: &str| {
        let (folder, path) = file(add);
        assert_eq!(
            error(&path, folder.path()),
            format!("model.gguf: unsupported {expected}")
        );
    };
    check(
        &|it| it.number("mistral3.expert_count", 8),
        "mistral3.expert_count: found 8, supported: 0",
    );
    check(
        &|it| it.number("mistral3.attention.temperature_length", 8192),
        "mistral3.attention.temperature_length: found 8192, supported: 0",
    );
    check(
        &|it| yarn(it).float("mistral3.rope.scaling.yarn_ext_factor", 0.5),
        "mistral3.rope.scaling.yarn_ext_factor: found 0.5, supported: 1",
    );
    // One field of a folder's configuration says both.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let llama3 = Source::open(&models().join("llama3.gguf")).unwrap();
    let rope = llama3
        .spec()
        .first_attention()
        .unwrap()
        .rope
        .clone()
        .unwrap();
    let divisors = rope
        .divisors(1)
        .into_iter()
        .map(|it| (it as f32).to_le_bytes());
    let divisors: Vec<u8> = divisors.flatten().collect();
    let file = |original: u32| {
        let named = GgufBuilder::new().string("general.architecture", "mistral3");
        let head_dim = 2 * divisors.len() as u32 / 4;
        let whole = metadata_of("mistral3", named)
            .number("mistral3.attention.key_length", head_dim)
            .float("mistral3.rope.freq_base", rope.theta as f32)
            .float("mistral3.attention.temperature_scale", 0.1)
            .number("mistral3.rope.scaling.original_context_length", original)
            .tensor(
                "rope_freqs.weight",
                &[divisors.len() as u64 / 4],
                0,
                divisors.len(),
            );
        let mut bytes = whole.bytes();
        let start = bytes.len() - divisors.len().next_multiple_of(32);
        bytes[start..][..divisors.len()].copy_from_slice(&divisors);
        std::fs::write(&path, bytes).unwrap();
        error(&path, folder.path())
    };
    let RopeScaling::Llama3 {
        original_max_position_embeddings: original,
        ..
    } = rope.scaling
    else {
        panic!("{:?}", rope.scaling);
    };
    let expected = format!(
        "model.gguf: queries grow every 4 tokens, but rope_freqs.weight is for an original context of {original}"
    );
    assert_eq!(file(4), expected);
    // Nothing is wrong with them but that the other tensors are not there.
    assert!(file(original as u32).contains("token_embd.weight"));
    // What another architecture does not compute.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let llama = GgufBuilder::new().string("general.architecture", "llama");
    let grown = metadata_of("llama", llama).float("llama.attention.temperature_scale", 0.1);
    std::fs::write(&path, weights(grown).bytes()).unwrap();
    let expected =
        "model.gguf: unsupported llama.attention.temperature_scale: found 0.1, supported: 0";
    assert_eq!(error(&path, folder.path()), expected);
}
