//! Results as folders with packed weights, in the eyes of PyPI's compressed-tensors and of
//! AutoRound.

use std::fs;
use std::path::PathBuf;

use evopress_tests::{Scratch, packed, read_json, transformers, write_wide_model};
use serde_json::{Value, json};

use crate::levels::pipeline;

/// A run's artifacts: the first in `model`, the others in folders there.
struct Result {
    report: Value,
    formats: Vec<&'static str>,
    model: PathBuf,
    spec: Value,
}

fn run(scratch: &Scratch, mut spec: Value, formats: &[&'static str]) -> Result {
    let artifacts = formats.iter().map(|format| json!({"format": format}));
    spec["artifacts"] = artifacts.collect();
    let report = scratch.report(&spec);
    let name = spec["metadata"]["name"].as_str().unwrap();
    let result = Result {
        model: scratch.run_dir(name).model(),
        formats: formats.to_vec(),
        report,
        spec,
    };
    for (format, artifact) in formats
        .iter()
        .zip(result.report["artifacts"].as_array().unwrap())
    {
        assert_eq!(artifact["format"], *format);
        assert_eq!(artifact["path"], json!(result.folder(format)));
    }
    result
}

impl Result {
    fn folder(&self, format: &str) -> PathBuf {
        match self.formats[0] == format {
            true => self.model.clone(),
            false => self.model.join(format),
        }
    }

    fn question(&self, format: &str) -> Value {
        json!({"format": format, "folder": self.folder(format), "plain": self.folder("huggingface")})
    }

    fn card(&self) -> String {
        let card = fs::read_to_string(self.model.join("README.md")).unwrap();
        for format in &self.formats {
            let other = fs::read_to_string(self.folder(format).join("README.md")).unwrap();
            assert_eq!(card, other);
        }
        card
    }

    fn quantization(&self, format: &str) -> Value {
        read_json(&self.folder(format).join("config.json"))["quantization_config"].take()
    }

    /// What transformers measures of an artifact, decompressed or not.
    fn perplexity_question(&self, format: &str) -> Value {
        let set = &self.spec["evaluation"][0];
        json!({
            "folder": self.folder(format), "dtype": "float32", "text": set["source"], "tokens": set["tokens"],
            "sequence_length": self.spec["calibration"]["sequence_length"], "bypass": [],
        })
    }

    /// Every layer is packed with the bits that the report says.
    fn check_all_packed(&self, answer: &Value) {
        assert_eq!(answer["dense"], json!([]));
        let bits = answer["bits"].as_object().unwrap();
        let genotype = self.report["genotype"].as_object().unwrap();
        assert!(!genotype.is_empty());
        for (unit, level) in genotype {
            let (block, kind) = unit.rsplit_once('.').unwrap();
            let layers = match kind {
                "qkv" => ["q_proj", "k_proj", "v_proj"].as_slice(),
                "gate_up" => &["gate_proj", "up_proj"],
                _ => &[kind],
            };
            for layer in layers {
                assert_eq!(
                    json!(format!("{}bit", bits[&format!("{block}.{layer}")])),
                    *level
                );
            }
        }
    }
}

fn check_same(answer: &Value) {
    assert_eq!(answer["different"], json!([]), "others read other weights");
    assert_eq!(
        answer["torn"],
        json!([]),
        "fused layers have the rules of their parts"
    );
}

/// A pipeline for a model in bf16 whose blocks have several widths.
fn wide(scratch: &Scratch, name: &str, options: &Value, bits: f64) -> Value {
    let model = scratch.path().join("wide");
    write_wide_model(&model);
    let mut spec = pipeline(name, "gptq", options, &json!({"bits_per_weight": bits}));
    spec["model"] = json!({"source": model, "dtype": "bf16", "device": "cpu"});
    spec
}

const ALL: [&str; 3] = ["compressed-tensors", "huggingface", "gptq"];

#[test]
fn packed_weights_are_the_decoded_ones_bit_for_bit() {
    let scratch = Scratch::new();
    // No budget here can be met by one level alone, so that every result has several.
    let options = json!({"bits": [2, 3, 4, 8], "group_size": 32});
    let mixed = run(&scratch, wide(&scratch, "mixed", &options, 4.5), &ALL);
    let options = json!({"bits": [4, 8], "group_size": "row", "symmetric": true});
    let mut spec = pipeline("rows", "rtn", &options, &json!({"bits_per_weight": 6.0}));
    spec["search"]["grouping"] = json!("tied");
    let rows = run(&scratch, spec, &ALL);
    // Some groups of four have no negative weight, so a zero of 0.
    let options = json!({"bits": [2, 3, 4], "group_size": 4});
    let small = pipeline("small", "gptq", &options, &json!({"bits_per_weight": 2.5}));
    let small = run(&scratch, small, &ALL);
    // Widths that do not divide a word.
    let options = json!({"bits": [3, 5, 6, 7], "group_size": 16});
    let odd = pipeline("odd", "gptq", &options, &json!({"bits_per_weight": 5.5}));
    let odd = run(&scratch, odd, &["huggingface", "compressed-tensors"]);

    let mut questions = Vec::new();
    for result in [&mixed, &rows, &small] {
        questions.push(result.question("compressed-tensors"));
        questions.push(result.question("gptq"));
    }
    questions.push(odd.question("compressed-tensors"));
    let answers = packed(&questions);
    let results = [&mixed, &mixed, &rows, &rows, &small, &small, &odd];
    for (result, answer) in results.iter().zip(&answers) {
        check_same(answer);
        result.check_all_packed(answer);
        let distinct: Vec<&Value> = answer["bits"].as_object().unwrap().values().collect();
        assert!(
            distinct.iter().any(|bits| *bits != distinct[0]),
            "the search mixes"
        );
    }
    assert_eq!(mixed.quantization("gptq")["checkpoint_format"], "gptq");
    assert_eq!(small.quantization("gptq")["checkpoint_format"], "gptq_v2");
    assert_eq!(rows.quantization("gptq")["group_size"], -1);
    let size = |result: &Result, format: &str| {
        let file = result.folder(format).join("model.safetensors");
        file.metadata().unwrap().len()
    };
    for format in ["compressed-tensors", "gptq"] {
        assert!(
            size(&rows, format) < size(&rows, "huggingface") / 2,
            "{format}"
        );
    }

    // What was measured is what transformers loads.
    let measured = [(&rows, "compressed-tensors"), (&odd, "huggingface")];
    let questions = measured.map(|(result, format)| result.perplexity_question(format));
    for ((result, format), answer) in measured.iter().zip(transformers(&questions)) {
        let ours = result.report["evaluation"][0]["compressed"]
            .as_f64()
            .unwrap();
        let theirs = answer["perplexity"].as_f64().unwrap();
        let relative = (ours - theirs).abs() / theirs;
        assert!(
            relative < 1e-4,
            "{format}: ours {ours}, transformers {theirs}"
        );
    }

    let (tied, untied) = (rows.card(), odd.card());
    assert!(
        tied.contains("LLM(\"PATH/gptq\"") && !tied.contains("vLLM does not load it"),
        "{tied}"
    );
    assert!(
        untied.contains("vLLM does not load it") && untied.contains("`search.grouping: tied`"),
        "{untied}"
    );
}

/// Pruned layers, layers of dropped sub-blocks and layers that stay as they are have no packed
/// form: they are there decoded.
#[test]
fn layers_without_a_grid_are_decoded_and_named() {
    let scratch = Scratch::new();
    let options = json!({"bits": [2, 3, 4], "group_size": 32});
    let fixed = 4 * (384 * 64 + 17 * 64);
    let mut spec = pipeline(
        "joint",
        "gptq",
        &options,
        &json!({"size_bytes": fixed + 90_000}),
    );
    let quantized = spec["methods"][0].clone();
    let drop = json!({"plugin": "drop", "options": {"granularity": "free"}});
    let sparse = json!({"plugin": "magnitude", "options": {"sparsities": [0.5, 0.9]}});
    spec["methods"] = json!([quantized, drop, sparse]);
    let result = run(&scratch, spec, &ALL);
    let answers = packed(&[
        result.question("compressed-tensors"),
        result.question("gptq"),
    ]);
    for answer in &answers {
        check_same(answer);
        assert!(!answer["bits"].as_object().unwrap().is_empty());
        assert!(!answer["dense"].as_array().unwrap().is_empty());
    }
    let mut ignored: Vec<String> =
        serde_json::from_value(result.quantization("compressed-tensors")["ignore"].take()).unwrap();
    ignored.retain(|module| module != "lm_head");
    ignored.sort();
    assert_eq!(json!(ignored), answers[0]["dense"]);
}

/// An artifact with packed weights is a model like any other, and dense is what it has.
#[test]
fn packed_artifacts_are_compressed_again() {
    let scratch = Scratch::new();
    let options = json!({"bits": [4, 8], "group_size": 32});
    let spec = pipeline("once", "rtn", &options, &json!({"bits_per_weight": 6.0}));
    let once = run(&scratch, spec, &["gptq"]);
    let mut spec = pipeline("twice", "drop", &json!({}), &json!({"drop": 0.25}));
    spec["model"]["source"] = json!(once.model);
    let twice = run(&scratch, spec, &["huggingface"]);
    let perplexity = |result: &Result, of: &str| result.report["evaluation"][0][of].as_f64();
    let (before, after) = (perplexity(&once, "compressed"), perplexity(&twice, "dense"));
    let difference = (before.unwrap() - after.unwrap()).abs() / before.unwrap();
    assert!(difference < 1e-6, "{before:?} is {after:?} when read again");

    let weights = once.model.join("model.safetensors");
    let size_bytes = weights.metadata().unwrap().len();
    let expected = json!({"method": "gptq", "types": ["4-bit", "8-bit"], "size_bytes": size_bytes});
    assert_eq!(twice.report["delivered"], expected);
    assert_eq!(once.report["delivered"], Value::Null);
    let sentence = format!(
        "Dense means as delivered: the weights of the model came as gptq (4-bit, 8-bit), {size_bytes} bytes."
    );
    assert!(twice.card().contains(&sentence), "{}", twice.card());
}

#[test]
fn what_no_level_can_become_is_refused_before_the_search() {
    let scratch = Scratch::new();
    let bits = json!({"bits": [2, 3, 4, 5, 6], "group_size": 32});
    let grids = pipeline("grids", "gptq", &bits, &json!({"bits_per_weight": 3.0}));
    let pruned = pipeline("pruned", "magnitude", &json!({}), &json!({"sparsity": 0.5}));
    let cases = [
        (
            grids,
            "gptq",
            "format `gptq` has grids of 2, 3, 4 or 8 bits, found levels of 5 and 6 bits",
        ),
        (
            pruned,
            "compressed-tensors",
            "format `compressed-tensors` packs uniform grids",
        ),
    ];
    for (mut spec, format, sentence) in cases {
        spec["artifacts"] = json!([{"format": "huggingface"}, {"format": format}]);
        let outcome = scratch.run(&spec);
        assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("$.artifacts[1].format") && outcome.stderr.contains(sentence),
            "{}",
            outcome.stderr
        );
    }
}
