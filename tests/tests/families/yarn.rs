//! The rotation of Ministral 3 with settings of its own, for which llama.cpp's architecture has
//! keys.

use super::*;

const NAME: &str = "ministral3";

/// The logits of transformers and of llama.cpp, `[T, V]` each, with what is written of a model with
/// other rotary settings.
fn computed(case: &Case, change: impl Fn(&mut Value)) -> (Tensor, Tensor) {
    let scratch = TempDir::new().unwrap();
    let changed = scratch.path().join("changed");
    std::fs::create_dir(&changed).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(case.folder().join(file), changed.join(file)).unwrap();
    }
    let text = std::fs::read_to_string(changed.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    change(&mut config["rope_parameters"]);
    std::fs::write(changed.join("config.json"), config.to_string()).unwrap();
    let source = Source::open(&changed).unwrap();
    let (space, genotype, kind) = (space(&source), Genotype(vec![0, 0]), Kind::Float);
    let folder = scratch.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    export::huggingface(&source, &space, &[], &genotype, kind, &folder, |_, _| {}).unwrap();
    let file = scratch.path().join("model.gguf");
    let whole = Source::open(&folder).unwrap();
    export::gguf::write(&whole, &space, &[], &genotype, kind, &file, |_, _| {}).unwrap();
    let gguf = Source::open(&file).unwrap();
    assert_eq!(gguf.spec().architecture, NAME);
    let ids = case.ids(ALL);
    let folders = [json!({"folder": folder, "ids": ids, "dtype": "float32"})];
    let expected = logits(&transformers_logits(&folders)[0]);
    let found = logits(&llama_cpp_logits(&[json!({"file": file, "ids": ids})])[0]);
    (expected, found)
}

fn check(change: impl Fn(&mut Value)) {
    let cases = cases();
    let case = cases.iter().find(|it| it.name == NAME).unwrap();
    let (expected, found) = computed(case, change);
    let largest = expected.abs().max().double_value(&[]);
    let error = (found - &expected).abs().max().double_value(&[]) / largest;
    assert!(error < 5e-3, "{error:.1e}");
    let moved = case.error_of(&expected);
    assert!(
        moved > 0.05,
        "the settings change what is computed: {moved:.1e}"
    );
}

/// Where YaRN's ramp begins and ends, and its attention factor.
#[test]
fn llama_cpp_takes_yarn_as_it_is_set() {
    check(|rope| {
        for (name, value) in [
            ("beta_fast", 3.0),
            ("beta_slow", 0.25),
            ("attention_factor", 1.3),
        ] {
            rope[name] = json!(value);
        }
    });
}

/// Queries may grow where nothing is stretched.
#[test]
fn llama_cpp_lets_queries_grow_without_yarn() {
    check(|rope| {
        *rope = json!({"rope_type": "default", "rope_theta": 1e4, "llama_4_scaling_beta": 0.9,
            "original_max_position_embeddings": 5});
    });
}

/// As in Mistral Small 3.1, whose GGUF files have this architecture too.
#[test]
fn queries_need_not_grow() {
    check(|rope| {
        *rope = json!({"rope_type": "default", "rope_theta": 1e4, "llama_4_scaling_beta": 0.0,
            "original_max_position_embeddings": 64});
    });
}
