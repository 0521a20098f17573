//! Whole runs of families whose files differ from Llama's: layers that share a tensor, and norms
//! that lack a 1.

use evopress_tests::{Scratch, fixture, llama_cpp_logits, read_json, transformers_logits};
use serde_json::{Value, json};

use crate::levels::pipeline;

/// A pipeline over a family's small model, whose layers `gptq` compresses.
fn spec(name: &str, family: &str, grouping: &str, formats: &[&str]) -> Value {
    let options = json!({"bits": [4, 8], "group_size": 16, "symmetric": true});
    let mut spec = pipeline(name, "gptq", &options, &json!({"bits_per_weight": 5.0}));
    spec["model"]["source"] = json!(fixture("families").join(family));
    spec["search"]["grouping"] = json!(grouping);
    let formats = formats.iter().map(|format| json!({"format": format}));
    spec["artifacts"] = formats.collect();
    spec
}

/// The largest difference of two answers' logits, of the largest logit.
fn difference(one: &Value, other: &Value) -> f64 {
    let numbers = |answer: &Value| -> Vec<f64> {
        let rows = answer["logits"].as_array().unwrap();
        let all = rows.iter().flat_map(|row| row.as_array().unwrap());
        all.map(|it| it.as_f64().unwrap()).collect()
    };
    let (one, other) = (numbers(one), numbers(other));
    assert_eq!(one.len(), other.len());
    let largest = |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0.0, f64::max);
    let mut differences = one.iter().zip(&other).map(|(a, b)| (a - b).abs());
    largest(&mut differences) / largest(&mut one.iter().map(|it| it.abs()))
}

#[test]
fn layers_that_share_a_tensor_are_compressed_and_written_into_it() {
    let scratch = Scratch::new();
    let formats = ["huggingface", "gguf", "compressed-tensors"];
    let report = scratch.report(&spec("fused", "phi3", "tied", &formats));
    let levels = report["genotype"].as_object().unwrap();
    assert_eq!(
        levels.len(),
        2 * 4,
        "q, k and v are one unit, gate and up another"
    );
    let distinct: std::collections::BTreeSet<_> =
        levels.values().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(distinct.len(), 2, "the search mixes levels: {levels:?}");
    let model = scratch.run_dir("fused").model();
    let path = |format: &str| {
        let artifacts = report["artifacts"].as_array().unwrap();
        let artifact = artifacts.iter().find(|it| it["format"] == format).unwrap();
        artifact["path"].as_str().unwrap().to_owned()
    };
    let ids: Vec<u32> = (0..40).map(|idx| 7 + idx * 37 % 250).collect();
    let question = |format: &str| json!({"folder": path(format), "ids": ids, "dtype": "float32"});
    let theirs = transformers_logits(&[question("huggingface"), question("compressed-tensors")]);
    assert_eq!(theirs[0]["class"], "Phi3ForCausalLM");
    let packed_error = difference(&theirs[0], &theirs[1]);
    assert!(packed_error < 1e-3, "packed: {packed_error:.1e}");
    let file = json!({"file": model.join("fused.gguf"), "ids": ids});
    let of_llama_cpp = llama_cpp_logits(&[file]).remove(0);
    assert_eq!(of_llama_cpp["architecture"], "phi3");
    let gguf_error = difference(&theirs[0], &of_llama_cpp);
    assert!(gguf_error < 3e-2, "llama.cpp: {gguf_error:.1e}");
}

#[test]
fn layers_that_share_a_tensor_need_one_level() {
    let scratch = Scratch::new();
    let formats = [
        ("gguf", "attn_qkv"),
        ("compressed-tensors", "self_attn.qkv_proj"),
        ("gptq", "self_attn.qkv_proj"),
    ];
    for (format, tensor) in formats {
        let spec = spec("split", "phi3", "size", &[format]);
        let sentence = scratch.run(&spec).stderr;
        let expected = format!(
            "format `{format}` has 3 layers of this model's blocks in one tensor, `{tensor}`, which has one level: \
             set `search.grouping: tied`, found the unit `model.layers.0.self_attn.q_proj`"
        );
        assert!(sentence.contains(&expected), "{sentence}");
    }
    // It is told with whatever else is wrong, and so is a budget in bytes.
    let mut several = spec("several", "phi3", "size", &["gguf"]);
    several["search"]["fitness"] = json!({"plugin": "perplexty"});
    several["calibration"]["tokens"] = json!(1_000_000);
    let mut wrong = |grouping: &str, target: Value, expected: &str| {
        several["search"]["grouping"] = json!(grouping);
        several["target"] = target;
        let said = scratch.run(&several).stderr;
        for sentence in [
            "no fitness plugin is named `perplexty`",
            "$.calibration",
            expected,
        ] {
            assert!(said.contains(sentence), "{said}");
        }
    };
    let (bits, bytes) = (json!({"bits_per_weight": 5.0}), json!({"size_bytes": 1000}));
    wrong("size", bits, "set `search.grouping: tied`");
    wrong("none", bytes, "$.target.size_bytes: ");
    // A folder of plain numbers has room for any.
    let report = scratch.report(&spec("split", "phi3", "size", &["huggingface"]));
    let genotype = report["genotype"].as_object().unwrap();
    assert!(genotype.contains_key("model.layers.0.self_attn.q_proj"));
}

#[test]
fn norms_that_lack_a_one_survive_a_run() {
    let scratch = Scratch::new();
    let report = scratch.report(&spec("gemma", "gemma3", "tied", &["huggingface", "gguf"]));
    assert_eq!(report["artifacts"].as_array().unwrap().len(), 2);
    let model = scratch.run_dir("gemma").model();
    let config = read_json(&model.join("config.json"));
    assert_eq!(config["model_type"], "gemma3_text");
    let ids: Vec<u32> = (0..40).map(|idx| 7 + idx * 37 % 250).collect();
    let folder = json!({"folder": model, "ids": ids, "dtype": "float32"});
    let theirs = transformers_logits(&[folder]).remove(0);
    let file = json!({"file": model.join("gemma.gguf"), "ids": ids});
    let of_llama_cpp = llama_cpp_logits(&[file]).remove(0);
    let error = difference(&theirs, &of_llama_cpp);
    assert!(error < 3e-2, "llama.cpp: {error:.1e}");
}
