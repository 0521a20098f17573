//! Models with experts, from end to end: levels for each expert's layers, what the report says of
//! experts, and what transformers and llama.cpp make of the result.

use evopress_tests::{Scratch, fixture, llama_cpp, tiny, transformers};
use serde_json::{Value, json};

/// Models of each family as llama.cpp has the family.
const IN_LLAMA_CPP: [&str; 5] = [
    "mixtral",
    "qwen3-moe-all",
    "qwen2-moe-untied",
    "olmoe-all-heads",
    "granitemoe",
];

/// The small pipeline on a small random model.
fn with_experts(model: &str) -> Value {
    let mut spec = tiny(model);
    spec["model"]["source"] = json!(fixture(&format!("experts/{model}")));
    spec
}

/// Four bits a weight on average, by GPTQ.
fn pipeline(model: &str, grouping: &str) -> Value {
    let mut spec = with_experts(model);
    spec["methods"] = json!([{"plugin": "gptq", "options": {"bits": [3, 4, 6], "group_size": 16}}]);
    spec["target"] = json!({"bits_per_weight": 4.0});
    spec["search"]["grouping"] = json!(grouping);
    spec["search"]["stages"] =
        json!([{"tokens": 64, "survivors": 2}, {"tokens": 128, "survivors": 1}]);
    spec
}

/// What another program measures of the artifact in a run's folder.
fn question(scratch: &Scratch, spec: &Value) -> Value {
    let name = spec["metadata"]["name"].as_str().unwrap();
    let folder = scratch.run_dir(name).model();
    let set = &spec["evaluation"][0];
    json!({
        "file": folder.join(format!("{name}.gguf")), "folder": folder, "dtype": "float32", "text": set["source"],
        "tokens": set["tokens"], "sequence_length": 64, "bypass": [], "prompt": 24, "greedy": 4,
    })
}

fn check_perplexity(report: &Value, answer: &Value, most: f64) {
    let ours = report["evaluation"][0]["compressed"].as_f64().unwrap();
    let theirs = answer["perplexity"].as_f64().unwrap();
    let name = &report["name"];
    assert!(
        (ours - theirs).abs() / theirs < most,
        "{name}: ours {ours}, theirs {theirs}"
    );
}

#[test]
fn each_expert_gets_a_level_and_transformers_loads_the_result() {
    let models = ["mixtral", "qwen3-moe", "qwen2-moe", "olmoe", "granitemoe"];
    let scratch = Scratch::new();
    let runs = models.map(|model| {
        let spec = pipeline(model, "expert");
        let report = scratch.report(&spec);
        (spec, report)
    });
    let questions: Vec<Value> = runs
        .iter()
        .map(|(spec, _)| question(&scratch, spec))
        .collect();
    for ((_, report), answer) in runs.iter().zip(transformers(&questions)) {
        check_perplexity(report, &answer, 1e-4);
        let value = report["achieved"]["value"].as_f64().unwrap();
        assert!(value <= 4.0 && value > 3.9, "{value}");
    }
    let (_, qwen) = &runs[2];
    let genotype = qwen["genotype"].as_object().unwrap();
    assert!(genotype.contains_key("model.layers.1.mlp.experts.5"));
    // Those outside experts share levels by their inputs.
    assert!(genotype.contains_key("model.layers.1.mlp.shared_expert.gate_up"));
    let experts = qwen["experts"].as_array().unwrap();
    assert_eq!(experts.len(), 6, "the first block is dense");
    let tokens = experts.iter().map(|it| it["tokens"].as_u64().unwrap());
    assert_eq!(tokens.sum::<u64>(), 2 * 1024, "two experts a token");
    assert_eq!(qwen["databases"][0]["experts_without_tokens"], 0);
}

#[test]
fn experts_that_calibration_never_reaches_go_by_their_weights() {
    let scratch = Scratch::new();
    let mut spec = pipeline("olmoe", "none");
    // Eight tokens, three experts each: not all eight experts of both blocks are reached.
    spec["database"] = json!({"tokens": 8, "sequence_length": 8});
    let report = scratch.report(&spec);
    let without = report["databases"][0]["experts_without_tokens"]
        .as_u64()
        .unwrap();
    assert!(without > 0, "all are reached");
    let warnings = report["warnings"].as_array().unwrap().iter();
    let mut warnings = warnings.map(|it| it.as_str().unwrap());
    let sentence = format!("no calibration token went to {without} experts");
    assert!(
        warnings.any(|it| it.contains(&sentence)),
        "{:?}",
        report["warnings"]
    );
}

#[test]
fn a_fast_search_switches_levels_of_experts() {
    let scratch = Scratch::new();
    let mut spec = pipeline("olmoe", "none");
    spec["search"] = json!({"mode": "fast", "limit": {"forward_tokens": 20000}, "seed": 0});
    let report = scratch.report(&spec);
    let genotype = report["genotype"].as_object().unwrap().iter();
    let of_experts = genotype.filter(|(name, _)| name.contains(".experts."));
    let mut levels: Vec<&str> = of_experts
        .map(|(_, level)| level.as_str().unwrap())
        .collect();
    levels.sort_unstable();
    levels.dedup();
    assert!(
        levels.len() > 1,
        "experts differ in their levels: {levels:?}"
    );
    let evaluation = &report["evaluation"][0];
    let uniform = evaluation["baselines"]["uniform"].as_f64().unwrap();
    assert!(evaluation["compressed"].as_f64().unwrap() < 1.05 * uniform);
}

#[test]
fn llama_cpp_computes_what_the_report_says() {
    let scratch = Scratch::new();
    let runs = IN_LLAMA_CPP.map(|model| {
        let mut spec = pipeline(model, "block");
        spec["artifacts"] = json!([{"format": "gguf"}, {"format": "huggingface"}]);
        let report = scratch.report(&spec);
        (spec, report)
    });
    let questions: Vec<Value> = runs
        .iter()
        .map(|(spec, _)| question(&scratch, spec))
        .collect();
    for ((_, report), answer) in runs.iter().zip(llama_cpp(&questions)) {
        check_perplexity(report, &answer, 0.005);
    }
}

#[test]
fn a_gguf_file_has_one_level_for_all_experts_of_a_block() {
    let scratch = Scratch::new();
    let refused = |model: &str, grouping: &str, sentence: &str| {
        let mut spec = pipeline(model, grouping);
        spec["artifacts"] = json!([{"format": "gguf"}]);
        let outcome = scratch.run(&spec);
        assert!(outcome.stderr.contains(sentence), "{}", outcome.stderr);
    };
    refused("mixtral", "expert", "set `search.grouping: block`");
    refused("qwen2-moe-all", "block", "a head that is the embedding");
    refused("olmoe", "block", "fewer key heads than query heads");
    refused(
        "qwen3-moe",
        "block",
        "block 1 with a dense MLP among blocks of experts",
    );
}

/// A third of each block's experts dropped, rounded down.
fn dropping(model: &str, search: &Value) -> Value {
    let mut spec = with_experts(model);
    spec["methods"] = json!([{"plugin": "drop", "options": {"granularity": "expert"}}]);
    spec["target"] = json!({"drop": 0.34});
    spec["search"] = search.clone();
    spec
}

/// Runs of [`dropping`], and what others are asked about them.
fn runs_without_experts(
    scratch: &Scratch,
    models: &[&str],
    artifact: &str,
    search: &Value,
) -> (Vec<Value>, Vec<Value>) {
    let runs = models.iter().map(|model| {
        let mut spec = dropping(model, search);
        spec["artifacts"] = json!([{"format": artifact}]);
        let report = scratch.report(&spec);
        (report, question(scratch, &spec))
    });
    runs.unzip()
}

#[test]
fn transformers_loads_models_that_lack_experts() {
    let scratch = Scratch::new();
    let models = ["mixtral", "qwen3-moe", "qwen2-moe", "olmoe", "granitemoe"];
    let search = tiny("paper")["search"].clone();
    let (reports, questions) = runs_without_experts(&scratch, &models, "huggingface", &search);
    for (report, answer) in reports.iter().zip(transformers(&questions)) {
        check_perplexity(report, &answer, 1e-4);
        let set = &report["evaluation"][0];
        assert!(set["baselines"]["router"].is_number(), "{set}");
        let levels = report["genotype"].as_object().unwrap().values();
        let num_dropped = levels.filter(|level| *level == "drop").count();
        // A third of a block's experts; the first block of one model is dense.
        let expected = match report["name"].as_str().unwrap() {
            "qwen3-moe" | "olmoe" => 4,
            _ => 2,
        };
        assert_eq!(num_dropped, expected, "{}", report["name"]);
    }
}

#[test]
fn llama_cpp_loads_models_that_lack_experts() {
    let scratch = Scratch::new();
    let search = json!({"mode": "fast", "limit": {"forward_tokens": 20000}, "seed": 0});
    let (reports, questions) = runs_without_experts(&scratch, &IN_LLAMA_CPP, "gguf", &search);
    for (report, answer) in reports.iter().zip(llama_cpp(&questions)) {
        check_perplexity(report, &answer, 0.005);
    }
}

#[test]
fn experts_and_bits_share_a_budget_in_bytes() {
    let scratch = Scratch::new();
    // More than all layers at 4 bits come to, so that experts must go.
    let models = [
        ("mixtral", 2.4),
        ("qwen3-moe", 3.8),
        ("qwen2-moe", 3.2),
        ("olmoe", 3.2),
        ("granitemoe", 3.6),
    ];
    let runs = models
        .iter()
        .enumerate()
        .map(|(idx, (model, compression))| {
            let mut spec = pipeline(model, "none");
            spec["methods"] = json!([
                {"plugin": "drop", "options": {"granularity": "expert"}},
                {"plugin": "rtn", "options": {"bits": [4, 6], "group_size": 16}},
            ]);
            spec["target"] = json!({"compression": compression});
            spec["search"].as_object_mut().unwrap().remove("grouping");
            if idx % 2 == 1 {
                spec["search"] =
                    json!({"mode": "fast", "limit": {"forward_tokens": 20000}, "seed": 0});
            }
            let report = scratch.report(&spec);
            let mut question = question(&scratch, &spec);
            question["trust"] = json!(true);
            (report, question)
        });
    let (reports, questions): (Vec<Value>, Vec<Value>) = runs.unzip();
    let mut num_different = 0;
    for ((report, question), answer) in reports.iter().zip(&questions).zip(transformers(&questions))
    {
        check_perplexity(report, &answer, 1e-4);
        let genotype = report["genotype"].as_object().unwrap().iter();
        let dropped = genotype.filter(|(_, level)| *level == "drop").count();
        assert!(dropped > 0, "{}: nothing is dropped", report["name"]);
        let folder = question["folder"].as_str().unwrap();
        let config = std::fs::read_to_string(format!("{folder}/config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        num_different += usize::from(config["num_experts_by_layer"].is_array());
    }
    assert!(
        num_different > 0,
        "all blocks have as many experts everywhere"
    );
}

#[test]
fn budgets_for_experts_that_no_runtime_can_load_are_refused() {
    let scratch = Scratch::new();
    let paper = tiny("paper")["search"].clone();
    let mut spec = dropping("olmoe", &paper);
    spec["target"] = json!({"drop": 0.9});
    let outcome = scratch.run(&spec);
    let sentence = "its router sends each token to";
    assert!(outcome.stderr.contains(sentence), "{}", outcome.stderr);
    spec["model"]["source"] = json!(fixture("experts/mixtral"));
    spec["target"] = json!({"compression": 1.2});
    spec["artifacts"] = json!([{"format": "gguf"}]);
    let outcome = scratch.run(&spec);
    let sentence = "format `gguf` has one number of experts for all blocks";
    assert!(outcome.stderr.contains(sentence), "{}", outcome.stderr);
}
