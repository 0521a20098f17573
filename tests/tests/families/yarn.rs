//! YaRN with settings of its own, in an architecture of llama.cpp that has keys for them.

use super::*;

/// Where YaRN's ramp begins and ends, and its attention factor, have keys in llama.cpp's
/// architecture of Ministral 3.
#[test]
fn llama_cpp_takes_yarn_as_it_is_set() {
    let scratch = TempDir::new().unwrap();
    let cases = cases();
    let case = cases.iter().find(|it| it.name == "ministral3").unwrap();
    let changed = scratch.path().join("changed");
    std::fs::create_dir(&changed).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(case.folder().join(file), changed.join(file)).unwrap();
    }
    let text = std::fs::read_to_string(changed.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (name, value) in [
        ("beta_fast", 3.0),
        ("beta_slow", 0.25),
        ("attention_factor", 1.3),
    ] {
        config["rope_parameters"][name] = json!(value);
    }
    std::fs::write(changed.join("config.json"), config.to_string()).unwrap();
    let source = Source::open(&changed).unwrap();
    let (space, genotype, kind) = (space(&source), Genotype(vec![0, 0]), Kind::Float);
    let folder = scratch.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    export::huggingface(&source, &space, &[], &genotype, kind, &folder, |_, _| {}).unwrap();
    let file = scratch.path().join("model.gguf");
    let whole = Source::open(&folder).unwrap();
    export::gguf::write(&whole, &space, &[], &genotype, kind, &file, |_, _| {}).unwrap();
    let ids = case.ids(ALL);
    let folders = [json!({"folder": folder, "ids": ids, "dtype": "float32"})];
    let expected = logits(&transformers_logits(&folders)[0]);
    let found = logits(&llama_cpp_logits(&[json!({"file": file, "ids": ids})])[0]);
    let largest = expected.abs().max().double_value(&[]);
    let error = (found - &expected).abs().max().double_value(&[]) / largest;
    assert!(error < 5e-3, "{error:.1e}");
    let moved = case.error_of(&expected);
    assert!(
        moved > 0.05,
        "the settings change what is computed: {moved:.1e}"
    );
}
