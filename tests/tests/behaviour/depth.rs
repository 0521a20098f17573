//! Dropped sub-blocks in artifacts that go without them: a folder in the layout of Nemotron-NAS, in
//! the eyes of a reader in plain torch and of transformers, and a GGUF file, in the eyes of
//! llama.cpp and of PyPI's gguf.

use std::fs;
use std::path::PathBuf;

use evopress_tests::{
    Scratch, dropped, gguf, llama_cpp, nemotron_nas, read_json, tiny, write_deep_model,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::levels::pipeline;

/// One of each kind: the first block's attention, a whole block, an MLP alone, an attention alone,
/// and the last block's MLP.
const IDLE: [&str; 6] = [
    "model.layers.0.self_attn",
    "model.layers.2.self_attn",
    "model.layers.2.mlp",
    "model.layers.4.mlp",
    "model.layers.5.self_attn",
    "model.layers.7.mlp",
];

/// Whether a block of the artifact has an attention and an MLP, for formats that can go without:
/// the first has an attention in any case.
const BLOCKS: [[bool; 2]; 7] = [
    [true, true],
    [true, true],
    [true, true],
    [true, false],
    [false, true],
    [true, true],
    [true, false],
];

struct Result {
    name: &'static str,
    report: Value,
    model: PathBuf,
    spec: Value,
}

/// A search that drops what is idle. The first of the formats is the one that the report is about.
fn run(
    scratch: &Scratch,
    name: &'static str,
    has_biases: bool,
    formats: &[&'static str],
) -> Result {
    let source = scratch.path().join(format!("{name}-dense"));
    write_deep_model(&source, has_biases, &IDLE);
    let mut spec = tiny(name);
    spec["model"]["source"] = json!(source);
    spec["methods"][0]["options"]["granularity"] = json!("free");
    spec["target"]["drop"] = json!(0.375);
    spec["search"]["generations"] = json!(60);
    spec["artifacts"] = formats.iter().map(|it| json!({"format": it})).collect();
    let report = scratch.report(&spec);
    assert_eq!(dropped(&report), IDLE);
    Result {
        name,
        report,
        model: scratch.run_dir(name).model(),
        spec,
    }
}

impl Result {
    fn path(&self, format: &str) -> PathBuf {
        let artifacts = self.report["artifacts"].as_array().unwrap();
        let artifact = artifacts.iter().find(|it| it["format"] == format).unwrap();
        PathBuf::from(artifact["path"].as_str().unwrap())
    }

    fn perplexity(&self) -> f64 {
        assert_eq!(self.report["evaluation"][0]["metric"], "perplexity");
        self.report["evaluation"][0]["compressed"].as_f64().unwrap()
    }

    fn question(&self) -> Value {
        let set = &self.spec["evaluation"][0];
        json!({
            "text": set["source"], "tokens": set["tokens"], "sequence_length": self.spec["calibration"]["sequence_length"],
            "folder": self.path("nemotron-nas"), "plain": self.path("huggingface"), "file": self.path("gguf"), "prompt": 1, "greedy": 0,
        })
    }

    fn check_close(&self, theirs: &Value, tolerance: f64) {
        let (ours, theirs) = (self.perplexity(), theirs["perplexity"].as_f64().unwrap());
        let relative = (ours - theirs).abs() / theirs;
        assert!(
            relative < tolerance,
            "{}: ours {ours}, theirs {theirs}",
            self.name
        );
    }

    /// A folder that has what its blocks have, and no other tensor.
    fn check_tensors(&self) {
        let bytes = fs::read(self.path("nemotron-nas").join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for (block, [attention, mlp]) in BLOCKS.into_iter().enumerate() {
            let halves = [
                (attention, ["self_attn", "input_layernorm"]),
                (mlp, ["mlp", "post_attention_layernorm"]),
            ];
            for (is_there, modules) in halves {
                for module in modules {
                    let start = format!("model.layers.{block}.{module}.");
                    let found = file.names().iter().any(|name| name.starts_with(&start));
                    assert_eq!(found, is_there, "{start}");
                }
            }
        }
        let config = read_json(&self.path("nemotron-nas").join("config.json"));
        assert_eq!(config["num_hidden_layers"], BLOCKS.len());
        assert_eq!(config["evopress"]["dropped"], json!(IDLE));
    }

    fn check_card(&self) {
        let card = fs::read_to_string(self.model.join("README.md")).unwrap();
        for sentence in [
            "1 block is left out whole: every runtime is faster",
            "4 sub-blocks are dropped alone: not there in `nemotron-nas`",
            "llama.cpp is faster",
            "in `huggingface` zeros are in their place",
            "The attention of the first block is there in all of them",
        ] {
            assert!(card.contains(sentence), "{sentence} is not in\n{card}");
        }
    }
}

#[test]
fn dropped_sub_blocks_are_not_there_and_nothing_else_changes() {
    let scratch = Scratch::new();
    let results = [
        run(
            &scratch,
            "plain",
            false,
            &["nemotron-nas", "huggingface", "gguf"],
        ),
        run(
            &scratch,
            "biased",
            true,
            &["gguf", "huggingface", "nemotron-nas"],
        ),
    ];
    let questions = results.each_ref().map(Result::question);
    for (result, answer) in results.iter().zip(nemotron_nas(&questions)) {
        let name = result.name;
        assert_eq!(answer["blocks"], json!(BLOCKS), "{name}");
        for difference in [&answer["difference"], &answer["transformers"]["difference"]] {
            let difference = difference.as_f64().unwrap();
            assert!(difference < 1e-4, "{name}: logits differ by {difference:e}");
        }
        assert_eq!(answer["transformers"]["class"], "DeciLMForCausalLM");
        assert_eq!(answer["transformers"]["greedy"], true, "{name}");
        result.check_close(&answer, 1e-5);
        result.check_tensors();
        result.check_card();
    }

    let counts = |is_there: fn([bool; 2]) -> i64| json!(BLOCKS.map(is_there));
    let files = results.each_ref().map(
        |it| json!({"file": it.path("gguf"), "folder": it.path("huggingface"), "database": null, "levels": {}}),
    );
    for (result, read) in results.iter().zip(gguf(&files)) {
        let name = result.name;
        assert_eq!(read["different"], json!([]), "{name}");
        assert_eq!(read["metadata"]["general.architecture"], "deci");
        assert_eq!(read["metadata"]["deci.block_count"], BLOCKS.len());
        let by_block = &read["by_block"];
        let [heads, kv_heads, widths] = [
            "deci.attention.head_count",
            "deci.attention.head_count_kv",
            "deci.feed_forward_length",
        ]
        .map(|key| by_block[key].clone());
        assert_eq!(
            heads,
            counts(|[attention, _]| if attention { 4 } else { 0 })
        );
        assert_eq!(
            kv_heads,
            counts(|[attention, _]| if attention { 2 } else { 0 })
        );
        assert_eq!(widths, counts(|[_, mlp]| if mlp { 256 } else { 32 }));
        let absent = read["absent"].as_array().unwrap();
        assert!(!absent.is_empty());
        let of_block = |name: &Value| {
            let name = name.as_str().unwrap();
            name.starts_with("model.layers.4.self_attn.")
                || name == "model.layers.4.input_layernorm.weight"
        };
        assert!(absent.iter().all(of_block), "{absent:?}");
    }
    for (result, answer) in results.iter().zip(llama_cpp(&questions)) {
        result.check_close(&answer, 0.005);
        assert_eq!(answer["blocks"], BLOCKS.len(), "{}", result.name);
    }
}

/// Levels of other methods beside dropped sub-blocks.
#[test]
fn quantized_layers_stay_what_they_are_beside_dropped_sub_blocks() {
    let scratch = Scratch::new();
    let source = scratch.path().join("dense");
    write_deep_model(&source, false, &IDLE);
    let options = json!({"bits": [3, 4], "group_size": 32});
    let in_layers = 8 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 256);
    let fixed = 4 * (2 * 384 * 64 + 17 * 64);
    let mut spec = pipeline(
        "joint",
        "rtn",
        &options,
        &json!({"size_bytes": fixed + in_layers * 3 / 8}),
    );
    spec["model"]["source"] = json!(source);
    let quantized = spec["methods"][0].clone();
    spec["methods"] = json!([quantized, {"plugin": "drop", "options": {"granularity": "free"}}]);
    spec["artifacts"] =
        json!([{"format": "gguf"}, {"format": "huggingface"}, {"format": "nemotron-nas"}]);
    let report = scratch.report(&spec);
    assert!(!dropped(&report).is_empty());
    let result = Result {
        name: "joint",
        report,
        model: scratch.run_dir("joint").model(),
        spec,
    };
    let answer = nemotron_nas(&[result.question()]).remove(0);
    assert!(answer["difference"].as_f64().unwrap() < 1e-4, "{answer}");
    result.check_close(&answer, 1e-5);
    let question = json!({"file": result.path("gguf"), "folder": result.path("huggingface"), "database": null, "levels": {}});
    let read = gguf(&[question]).remove(0);
    assert_eq!(read["different"], json!([]));
    assert_eq!(read["metadata"]["general.architecture"], "deci");
    result.check_close(&llama_cpp(&[result.question()]).remove(0), 0.005);
}

#[test]
fn what_the_layout_cannot_say_is_refused_before_the_search() {
    let scratch = Scratch::new();
    let narrow = tiny("narrow");
    let mut whole = pipeline(
        "whole",
        "rtn",
        &json!({"bits": [3, 4], "group_size": 32}),
        &json!({"bits_per_weight": 3.5}),
    );
    let source = scratch.path().join("dense");
    write_deep_model(&source, false, &[]);
    whole["model"]["source"] = json!(source);
    let cases = [
        (
            narrow,
            "format `nemotron-nas` has MLPs whose width is a multiple of 256, found a width of 96 in this model",
        ),
        (
            whole,
            "format `nemotron-nas` goes without attentions and MLPs that are dropped, as the method `drop` does it, found no such level",
        ),
    ];
    for (mut spec, sentence) in cases {
        spec["artifacts"] = json!([{"format": "huggingface"}, {"format": "nemotron-nas"}]);
        let outcome = scratch.run(&spec);
        assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("$.artifacts[1].format") && outcome.stderr.contains(sentence),
            "{}",
            outcome.stderr
        );
    }
}
