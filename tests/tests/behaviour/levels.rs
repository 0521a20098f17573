//! Searches over the levels of linear layers, with the real plugins on the tiny model: what is on
//! disk is what the report says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evopress_tests::{Scratch, read_json, tiny, transformers};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// A pipeline for the tiny model whose layers `plugin` compresses.
pub(crate) fn pipeline(name: &str, plugin: &str, options: &Value, target: &Value) -> Value {
    let mut spec = tiny(name);
    spec["methods"] = json!([{"plugin": plugin, "options": options}]);
    spec["target"] = target.clone();
    spec["search"]["stages"] =
        json!([{"tokens": 64, "survivors": 2}, {"tokens": 128, "survivors": 1}]);
    spec
}

/// Three bits a weight on average, by GPTQ.
pub(crate) fn three_bits(name: &str) -> Value {
    let options = json!({"bits": [2, 3, 4, 5, 6], "group_size": 32});
    pipeline(name, "gptq", &options, &json!({"bits_per_weight": 3.0}))
}

/// All linear weights of an artifact by name, as f32 numbers with their row length.
fn weights(model: &Path) -> BTreeMap<String, (Vec<f32>, usize)> {
    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let linear = file
        .tensors()
        .into_iter()
        .filter(|(name, _)| name.contains("_proj."));
    linear
        .map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32);
            let numbers = view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b));
            (
                name.replace(".weight", ""),
                (numbers.collect(), view.shape()[1]),
            )
        })
        .collect()
}

fn baselines(report: &Value) -> Vec<&str> {
    let baselines = report["baselines"].as_array().unwrap().iter();
    baselines.map(|it| it["name"].as_str().unwrap()).collect()
}

#[test]
fn quantized_weights_on_disk_have_the_bits_that_the_report_says() {
    for plugin in ["gptq", "rtn"] {
        let scratch = Scratch::new();
        let mut spec = three_bits(plugin);
        spec["methods"][0]["plugin"] = json!(plugin);
        let report = scratch.report(&spec);
        assert_eq!(report["achieved"]["value"], 3.0, "{plugin}");
        assert_eq!(
            baselines(&report),
            ["uniform", "dynamic-programming", "best-of-random"]
        );

        let (mut bits_in_all, mut num_weights, mut packed) = (0, 0, 0);
        for (name, (numbers, columns)) in weights(&scratch.run_dir(plugin).model()) {
            let level = report["genotype"][&name].as_str().unwrap();
            let bits: usize = level.strip_suffix("bit").unwrap().parse().unwrap();
            for group in numbers.chunks(32) {
                let mut values = group.to_vec();
                values.sort_by(f32::total_cmp);
                values.dedup();
                assert!(
                    values.len() <= 1 << bits,
                    "{name} at {level}: {} values",
                    values.len()
                );
            }
            let (rows, groups) = (numbers.len() / columns, columns / 32);
            packed += rows * (columns * bits).div_ceil(8)
                + 2 * rows * groups
                + rows * (groups * bits).div_ceil(8);
            bits_in_all += bits * numbers.len();
            num_weights += numbers.len();
        }
        assert!(
            bits_in_all <= 3 * num_weights,
            "{plugin}: {bits_in_all} bits of {num_weights} weights"
        );
        let fixed = 4 * (384 * 64 + 17 * 64); // the embedding and the norms, in f32
        assert_eq!(
            report["achieved"]["packed_bytes"],
            packed + fixed,
            "{plugin}"
        );
    }
}

#[test]
fn pruned_weights_on_disk_are_as_many_as_the_budget_allows() {
    for plugin in ["sparsegpt", "wanda", "magnitude"] {
        let scratch = Scratch::new();
        let spec = pipeline(plugin, plugin, &json!({}), &json!({"sparsity": 0.5}));
        let report = scratch.report(&spec);
        assert_eq!(report["achieved"]["value"], 0.5, "{plugin}");
        let found = baselines(&report);
        assert!(
            found.contains(&"uniform") && found.contains(&"dynamic-programming"),
            "{found:?}"
        );
        assert_eq!(
            found.contains(&"owl"),
            plugin != "magnitude",
            "OWL needs the inputs' norms: {found:?}"
        );
        let weights = weights(&scratch.run_dir(plugin).model());
        let all: usize = weights.values().map(|(numbers, _)| numbers.len()).sum();
        let zeros = |numbers: &[f32]| numbers.iter().filter(|number| **number == 0.0).count();
        let pruned: usize = weights.values().map(|(numbers, _)| zeros(numbers)).sum();
        assert!(
            2 * pruned >= all,
            "{plugin}: {pruned} of {all} weights are zero"
        );
        let levels = report["genotype"].as_object().unwrap().values();
        let distinct: std::collections::BTreeSet<_> =
            levels.map(|level| level.as_str().unwrap()).collect();
        assert!(
            distinct.len() > 1,
            "{plugin}: the search moves sparsity between layers"
        );
    }
}

#[test]
fn n_of_m_patterns_hold_in_every_group() {
    let scratch = Scratch::new();
    let options = json!({"patterns": ["2:8", "4:8"]});
    let spec = pipeline(
        "pattern",
        "sparsegpt",
        &options,
        &json!({"sparsity": 0.375}),
    );
    let report = scratch.report(&spec);
    for (name, (numbers, _)) in weights(&scratch.run_dir("pattern").model()) {
        let level = report["genotype"][&name].as_str().unwrap();
        let allowed = if level.contains("4:8") { 4 } else { 6 };
        for group in numbers.chunks(8) {
            let kept = group.iter().filter(|number| **number != 0.0).count();
            assert!(kept <= allowed, "{name} at {level}: {group:?}");
        }
    }
}

#[test]
fn tied_layers_share_their_level() {
    let scratch = Scratch::new();
    let mut spec = three_bits("tied");
    spec["search"]["grouping"] = json!("tied");
    let report = scratch.report(&spec);
    let genotype = report["genotype"].as_object().unwrap();
    assert_eq!(
        genotype.len(),
        4 * 8,
        "q, k and v are one, gate and up another"
    );
    let values: BTreeMap<String, usize> = weights(&scratch.run_dir("tied").model())
        .into_iter()
        .map(|(name, (numbers, _))| {
            let most = numbers.chunks(32).map(|group| {
                let mut values = group.to_vec();
                values.sort_by(f32::total_cmp);
                values.dedup();
                values.len()
            });
            (name, most.max().unwrap())
        })
        .collect();
    for block in 0..8 {
        for (unit, layers) in [
            (
                "self_attn.qkv",
                ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].as_slice(),
            ),
            ("mlp.gate_up", &["mlp.gate_proj", "mlp.up_proj"]),
        ] {
            let level = genotype[&format!("model.layers.{block}.{unit}")]
                .as_str()
                .unwrap();
            let bits: usize = level.strip_suffix("bit").unwrap().parse().unwrap();
            for layer in layers {
                let found = values[&format!("model.layers.{block}.{layer}")];
                assert!(
                    found <= 1 << bits,
                    "{layer} of block {block} at {level}: {found} values"
                );
            }
        }
    }
}

#[test]
fn methods_compete_for_one_byte_budget() {
    let scratch = Scratch::new();
    let fixed = 4 * (384 * 64 + 17 * 64);
    let mut spec = three_bits("joint");
    let drop = json!({"plugin": "drop", "options": {"granularity": "free"}});
    let sparse = json!({"plugin": "magnitude", "options": {"sparsities": [0.5, 0.9]}});
    let quantized = spec["methods"][0].clone();
    spec["methods"] = json!([quantized, drop, sparse]);
    // Less than everything at 2 bits: something has to go.
    spec["target"] = json!({"size_bytes": fixed + 75_000});
    let report = scratch.report(&spec);
    let size = report["achieved"]["packed_bytes"].as_u64().unwrap();
    assert!(
        size <= fixed + 75_000 && size > fixed + 60_000,
        "{size} bytes"
    );
    assert_eq!(
        report["databases"].as_array().unwrap().len(),
        2,
        "dropping needs none"
    );
    let levels = report["genotype"].as_object().unwrap();
    assert!(
        levels
            .values()
            .any(|level| level.as_str().unwrap().starts_with("gptq:"))
    );
    for baseline in report["baselines"].as_array().unwrap() {
        let bytes = baseline["packed_bytes"].as_u64().unwrap();
        assert!(
            bytes <= fixed + 75_000,
            "{}: {bytes} bytes",
            baseline["name"]
        );
    }
}

#[test]
fn transformers_measures_the_same_perplexity() {
    let scratch = Scratch::new();
    let spec = three_bits("loaded");
    let report = scratch.report(&spec);
    let model = scratch.run_dir("loaded").model();
    let set = &spec["evaluation"][0];
    let question = json!({"folder": model, "dtype": "float32", "text": set["source"], "tokens": set["tokens"], "sequence_length": 64, "bypass": []});
    let theirs = transformers(&[question])[0]["perplexity"].as_f64().unwrap();
    let ours = report["evaluation"][0]["compressed"].as_f64().unwrap();
    assert!(
        (ours - theirs).abs() / theirs < 1e-4,
        "ours {ours}, transformers {theirs}"
    );

    let config = read_json(&model.join("config.json"));
    assert_eq!(config["evopress"]["levels"], report["genotype"]);
    let card = fs::read_to_string(model.join("README.md")).unwrap();
    assert!(card.contains("3bit"), "{card}");
}
