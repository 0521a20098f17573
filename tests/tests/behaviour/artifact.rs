//! The artifact, in the eyes of unmodified transformers.

use std::fs;
use std::path::Path;

use evopress::source::Source;
use evopress_tests::{
    Scratch, data_root, dropped, fixture, read_json, repository, smollm2, tiny, transformers,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn question(folder: &Path, dtype: &str, spec: &Value, bypass: &[String]) -> Value {
    let length = spec["calibration"]["sequence_length"].clone();
    let set = &spec["evaluation"][0];
    json!({"folder": folder, "dtype": dtype, "text": set["source"], "tokens": set["tokens"], "sequence_length": length, "bypass": bypass})
}

/// The perplexity of the artifact as we report it.
fn reported(report: &Value) -> f64 {
    assert_eq!(report["evaluation"][0]["metric"], "perplexity");
    report["evaluation"][0]["compressed"].as_f64().unwrap()
}

fn assert_close(ours: f64, theirs: &Value, tolerance: f64) {
    let theirs = theirs["perplexity"].as_f64().unwrap();
    let relative = (ours - theirs).abs() / theirs;
    assert!(
        relative < tolerance,
        "ours {ours}, transformers {theirs}: {relative:e}"
    );
}

/// Sub-blocks by the dense model's names: of units that may be whole blocks.
fn sub_blocks(units: &[String]) -> Vec<String> {
    let parts = |unit: &String| match unit.split('.').count() {
        3 => vec![format!("{unit}.self_attn"), format!("{unit}.mlp")],
        _ => vec![unit.clone()],
    };
    units.iter().flat_map(parts).collect()
}

/// Config, model card and weights tell the same story as the report.
fn check_files(model: &Path, report: &Value, num_blocks: usize) {
    let gone = sub_blocks(&dropped(report));
    let is_gone = |block: usize, part: &str| gone.contains(&format!("model.layers.{block}.{part}"));
    let kept: Vec<usize> = (0..num_blocks)
        .filter(|&block| !(is_gone(block, "self_attn") && is_gone(block, "mlp")))
        .collect();

    let config = read_json(&model.join("config.json"));
    assert_eq!(config["num_hidden_layers"], kept.len());
    assert_eq!(config["evopress"]["num_hidden_layers_dense"], num_blocks);
    assert_eq!(config["evopress"]["dropped"], json!(dropped(report)));
    assert_eq!(config["evopress"]["levels"], report["genotype"]);
    let card = fs::read_to_string(model.join("README.md")).unwrap();
    for unit in dropped(report) {
        assert!(
            card.contains(&format!("- `{unit}`: drop")),
            "{unit} is not in\n{card}"
        );
    }

    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let blocks = file
        .names()
        .iter()
        .filter_map(|name| {
            name.strip_prefix("model.layers.")?
                .split('.')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .max();
    assert_eq!(
        blocks,
        Some(kept.len() - 1),
        "blocks that are dropped whole are gone"
    );
    for (new, old) in kept.iter().enumerate() {
        for (part, projection) in [("self_attn", "o_proj"), ("mlp", "down_proj")] {
            let weight = file
                .tensor(&format!("model.layers.{new}.{part}.{projection}.weight"))
                .unwrap();
            let is_zero = weight.data().iter().all(|byte| *byte == 0);
            assert_eq!(
                is_zero,
                is_gone(*old, part),
                "{part} of block {old}, now {new}"
            );
        }
    }
}

#[test]
fn the_tiny_model_is_the_same_in_transformers_for_each_granularity() {
    let scratch = Scratch::new();
    let cases = [("sub-block", 0.25), ("block", 0.25), ("free", 0.375)];
    let mut questions = Vec::new();
    let mut reports = Vec::new();
    for (granularity, target) in cases {
        let mut spec = tiny(granularity);
        spec["methods"][0]["options"]["granularity"] = json!(granularity);
        spec["target"]["drop"] = json!(target);
        spec["search"]["generations"] = json!(12);
        let report = scratch.report(&spec);
        let model = scratch.run_dir(granularity).model();
        check_files(&model, &report, 8);
        questions.push(question(&model, "float32", &spec, &[]));
        questions.push(question(
            &fixture("tiny"),
            "float32",
            &spec,
            &sub_blocks(&dropped(&report)),
        ));
        reports.push(report);
    }
    assert_eq!(
        dropped(&reports[0]),
        [
            "model.layers.2.self_attn",
            "model.layers.2.mlp",
            "model.layers.4.mlp",
            "model.layers.5.self_attn"
        ],
        "the four that hardly add anything: one block whole, two sub-blocks alone"
    );
    let answers = transformers(&questions);
    for (idx, report) in reports.iter().enumerate() {
        let [artifact, bypassed] = &answers[2 * idx..2 * idx + 2] else {
            panic!("two answers each")
        };
        assert_eq!(artifact["class"], "LlamaForCausalLM");
        assert_close(reported(report), artifact, 1e-5);
        assert_close(reported(report), bypassed, 1e-5); // the dense model without these units is the same
        assert_eq!(
            artifact["ids"], bypassed["ids"],
            "the tokenizer is the source's"
        );
        let num_blocks = artifact["num_hidden_layers"].as_u64().unwrap() as usize;
        assert_eq!(
            artifact["layer_types"],
            json!(vec!["full_attention"; num_blocks]),
            "a list per block follows"
        );
        let config = read_json(&scratch.run_dir(cases[idx].0).model().join("config.json"));
        assert_eq!(
            config["eos_token_id"].as_array().unwrap().len(),
            8,
            "a list of something else stays"
        );
    }
    let num_blocks: Vec<_> = answers
        .iter()
        .step_by(2)
        .map(|answer| answer["num_hidden_layers"].as_u64().unwrap())
        .collect();
    assert_eq!(num_blocks[..2], [7, 6]);
}

#[test]
fn smollm2_has_the_same_perplexity_and_token_ids_in_transformers() {
    let scratch = Scratch::new();
    let spec = smollm2("smollm2");
    let report = scratch.report(&spec);
    assert_eq!(
        report["achieved"]["value"],
        14.0 / 60.0,
        "7 of 30 attentions and 7 of 30 MLPs"
    );
    let model = scratch.run_dir("smollm2").model();
    check_files(&model, &report, 30);
    let answer = transformers(&[question(&model, "bfloat16", &spec, &[])]).remove(0);
    assert_eq!(answer["class"], "LlamaForCausalLM");
    assert_close(reported(&report), &answer, 0.005);

    let source = Source::open(&data_root().join("models/SmolLM2-135M-Instruct.gguf")).unwrap();
    let text = fs::read_to_string(repository().join("pipelines/text/evaluation.txt")).unwrap();
    let text: String = text.chars().take(2048 * 12).collect();
    let ids = source.tokenizer().unwrap().encode(text, false).unwrap();
    assert_eq!(answer["ids"], json!(&ids.get_ids()[..2048]));
}
