//! Released models of other families than the demo's: their pipelines with small limits, and what
//! llama.cpp makes of the results.

use evopress_tests::{Scratch, data_root, dropped, llama_cpp, repository};
use serde_json::{Value, json};

/// By how much llama.cpp's cross-entropy may differ from ours, relative to it: beside weights in
/// blocks it rounds activations to 8 bits, which shows most in models that lost much.
const MOST_DIFFERENCE: f64 = 0.01;
const LENGTH: usize = 128;
const NUM_SEQUENCES: usize = 2;

/// A pipeline of the repository with limits for a test: seconds instead of minutes.
fn small(name: &str) -> Value {
    let folder = repository().join("pipelines");
    let text = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    let mut spec: Value = serde_yaml::from_str(&text).unwrap();
    let source = spec["model"]["source"].as_str().unwrap();
    spec["model"]["source"] = json!(data_root().join(source));
    let place = |text: &mut Value| {
        text["source"] = json!(folder.join(text["source"].as_str().unwrap()));
        text["sequence_length"] = json!(LENGTH);
    };
    place(&mut spec["calibration"]);
    place(&mut spec["evaluation"][0]);
    spec["calibration"]["tokens"] = json!(8 * LENGTH);
    if spec["methods"][0]["plugin"] == "kquant" {
        // Each weight is rounded for itself: seconds instead of minutes.
        spec["methods"][0]["options"] = json!({
            "types": ["Q2_K", "Q3_K"], "fallback": ["Q2_0", "IQ4_NL"], "error_feedback": false, "importance": "none",
        });
    }
    spec["search"]["limit"] = json!({"forward_tokens": 1024});
    spec["baselines"] = json!({"random": 0});
    spec["evaluation"][0]["tokens"] = json!(NUM_SEQUENCES * LENGTH);
    spec["evaluation"][0]["sample"] = json!("start");
    spec
}

/// Runs a pipeline; llama.cpp finds the perplexity of the report in its artifact. `bos` is the
/// token that sequences begin with.
fn check(name: &str, bos: Option<u32>) -> Value {
    let scratch = Scratch::new();
    let spec = small(name);
    let report = scratch.report(&spec);
    let starts = report["sequences"].as_array().unwrap();
    assert!(
        starts.iter().all(|it| it["bos"] == bos.is_some()),
        "{starts:?}"
    );
    let set = &spec["evaluation"][0];
    let mut question = json!({
        "file": report["artifacts"][0]["path"], "text": set["source"], "sequence_length": LENGTH,
        "tokens": NUM_SEQUENCES * (LENGTH - usize::from(bos.is_some())), "prompt": 1, "greedy": 0,
    });
    if let Some(bos) = bos {
        question["bos"] = json!(bos);
    }
    let answer = llama_cpp(&[question]).remove(0);
    let ours = report["evaluation"][0]["compressed"].as_f64().unwrap();
    let theirs = answer["perplexity"].as_f64().unwrap();
    let difference = (ours.ln() / theirs.ln() - 1.0).abs();
    println!("{name}: ours {ours}, llama.cpp {theirs}: {difference:.1e}");
    assert!(
        difference < MOST_DIFFERENCE,
        "{name}: ours {ours}, llama.cpp {theirs}"
    );
    report
}

fn check_bits(report: &Value) {
    let value = report["achieved"]["value"].as_f64().unwrap();
    assert!(value <= 3.0 && value > 2.8, "{value}");
}

fn check_depth(report: &Value, num_dropped: usize) {
    assert_eq!(dropped(report).len(), num_dropped);
}

/// Gemma's sequences begin with BOS, token 2.
const GEMMA_BOS: Option<u32> = Some(2);

#[test]
fn llama_cpp_computes_gemma_3_at_three_bits() {
    check_bits(&check("gemma3-270m-3bit", GEMMA_BOS));
}

#[test]
fn llama_cpp_computes_gemma_3_without_sub_blocks() {
    check_depth(&check("gemma3-270m-depth", GEMMA_BOS), 4);
}

#[test]
fn llama_cpp_computes_qwen_2_5_at_three_bits() {
    check_bits(&check("qwen2-5-coder-3bit", None));
}

#[test]
fn llama_cpp_computes_qwen_2_5_without_sub_blocks() {
    check_depth(&check("qwen2-5-coder-depth", None), 6);
}
