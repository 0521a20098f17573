//! Level databases and the searches over them, with the real plugins on the tiny model.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use evopress_spec::EventKind;
use evopress_tests::{Scratch, Worker, eventually, read_json, timeless, tiny, transformers};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// A pipeline for the tiny model whose layers `plugin` compresses.
fn pipeline(name: &str, plugin: &str, options: &Value, target: &Value) -> Value {
    let mut spec = tiny(name);
    spec["methods"] = json!([{"plugin": plugin, "options": options}]);
    spec["target"] = target.clone();
    spec["search"]["stages"] =
        json!([{"tokens": 64, "survivors": 2}, {"tokens": 128, "survivors": 1}]);
    spec
}

/// Three bits a weight on average, by GPTQ.
fn three_bits(name: &str) -> Value {
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

/// The one entry of the cache.
fn database(scratch: &Scratch) -> PathBuf {
    let entries = fs::read_dir(scratch.state().join("cache/levels")).unwrap();
    let folders: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
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

#[test]
fn another_budget_uses_the_same_database() {
    let scratch = Scratch::new();
    let first = scratch.report(&three_bits("first"));
    let mut spec = three_bits("second");
    spec["target"] = json!({"bits_per_weight": 3.5});
    let second = scratch.report(&spec);
    assert_eq!(first["databases"][0]["reused"], false);
    assert_eq!(second["databases"][0]["reused"], true);
    assert_eq!(first["databases"][0]["key"], second["databases"][0]["key"]);
    let value = second["achieved"]["value"].as_f64().unwrap();
    assert!(value <= 3.5 && value > 3.45, "{value}");

    let mut spec = three_bits("other-groups");
    spec["methods"][0]["options"]["group_size"] = json!("row");
    let third = scratch.report(&spec);
    assert_ne!(third["databases"][0]["key"], first["databases"][0]["key"]);
}

#[test]
fn a_build_that_is_killed_goes_on_at_the_layer_it_was_in() {
    let scratch = Scratch::new();
    let spec = three_bits("killed");
    let mut worker = Worker::prepare(&scratch, "calm/runs", &spec);
    worker.start();
    let expected = timeless(worker.finish());

    let mut worker = Worker::prepare(&scratch, "killed/runs", &spec);
    let levels = scratch.path().join("killed/cache/levels");
    // What the manifest names; a file that is committed and not yet named may be made again.
    let files = || -> Vec<PathBuf> {
        let Some(folder) = fs::read_dir(&levels)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.join("manifest.json").is_file())
        else {
            return Vec::new();
        };
        let manifest = read_json(&folder.join("manifest.json"));
        let names = manifest["files"].as_object().unwrap().keys();
        names.map(|name| folder.join(name)).collect()
    };
    let mut before = Vec::new();
    for wanted in [5, 30] {
        worker.start();
        eventually("some layers", || {
            (files().len() >= wanted || worker.ended().is_some()).then_some(())
        });
        worker.kill();
        before = files();
    }
    let times = |files: &[PathBuf]| -> Vec<_> {
        files
            .iter()
            .map(|file| file.metadata().unwrap().modified().unwrap())
            .collect()
    };
    let at = times(&before);
    worker.start();
    assert_eq!(timeless(worker.finish()), expected);
    assert_eq!(times(&before), at, "what was finished was not built again");
}

#[test]
fn a_damaged_layer_is_named_and_built_again_alone() {
    let scratch = Scratch::new();
    let spec = three_bits("sound");
    let expected = scratch.report(&spec);
    let folder = database(&scratch);
    let name = "model.layers.5.mlp.up_proj.safetensors";
    let sound = fs::read(folder.join(name)).unwrap();
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(folder.join(name), damaged).unwrap();

    let output = scratch.evopressd(&["cache", "verify"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(name), "{text}");

    let others = |folder: &Path| -> BTreeMap<PathBuf, std::time::SystemTime> {
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let layers = files.filter(|path| path.extension().is_some_and(|it| it == "safetensors"));
        layers
            .filter(|path| !path.ends_with(name))
            .map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap()))
            .collect()
    };
    let before = others(&folder);
    let mut spec = three_bits("again");
    spec["search"]["seed"] = json!(0);
    let report = scratch.report(&spec);
    assert_eq!(
        fs::read(folder.join(name)).unwrap(),
        sound,
        "the very same layer"
    );
    assert_eq!(others(&folder), before, "and no other");
    assert_eq!(report["genotype"], expected["genotype"]);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains(name), "{warnings}");
    let output = scratch.evopressd(&["cache", "verify"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_search_over_levels_that_is_killed_ends_like_an_undisturbed_one() {
    let scratch = Scratch::new();
    let spec = three_bits("search");
    let mut worker = Worker::prepare(&scratch, "calm", &spec);
    worker.start();
    let expected = timeless(worker.finish());
    let mut worker = Worker::prepare(&scratch, "killed", &spec);
    worker.start();
    worker.wait_for_generation(3);
    worker.kill();
    worker.start();
    let mut report = timeless(worker.finish());
    report["databases"] = expected["databases"].clone(); // one has built it, the other found it
    assert_eq!(report, expected);
    let resumed = worker.events().into_iter().any(|event| {
        matches!(event, EventKind::Started { resumed_generation: Some(generation), .. } if generation >= 3)
    });
    assert!(resumed);
}

#[test]
fn what_cannot_be_is_a_sentence() {
    let scratch = Scratch::new();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut spec = three_bits("refused");
        change(&mut spec);
        let outcome = scratch.run(&spec);
        assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
        outcome.stderr
    };
    let expect = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    };
    let text = refused(&|spec| spec["target"] = json!({"bits_per_weight": 1.5}));
    expect(&text, &["$.target.bits_per_weight", "2"]);
    let text = refused(&|spec| spec["target"] = json!({"size_bytes": 1000}));
    expect(
        &text,
        &["$.target.size_bytes", "the cheapest levels come to"],
    );
    let text = refused(&|spec| spec["methods"][0]["options"]["bits"] = json!([3]));
    expect(&text, &["$.methods[0]", "bits"]);
    let text = refused(&|spec| spec["methods"][0]["options"]["group_size"] = json!(48));
    expect(&text, &["$.methods[0]", "48", "q_proj", "32"]);
    let text = refused(&|spec| {
        spec["search"]["grouping"] = json!("size");
        spec["target"] = json!({"compression": 3.0});
    });
    expect(&text, &["$.search.grouping", "tied"]);
    let little = scratch.path().join("little.txt");
    fs::write(&little, "Call me Ishmael.").unwrap();
    let text = refused(&|spec| spec["database"] = json!({"source": little, "tokens": 1024}));
    expect(&text, &["$.database.tokens", "little.txt"]);
}

#[test]
fn weights_that_are_not_numbers_are_reported_with_their_layer() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("broken");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(evopress_tests::fixture("tiny")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let start = {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor("model.layers.3.mlp.down_proj.weight").unwrap();
        view.data().as_ptr().addr() - bytes.as_ptr().addr()
    };
    bytes[start..start + 2].copy_from_slice(&[0xC0, 0x7F]); // NaN in bf16
    fs::write(&path, bytes).unwrap();
    let mut spec = three_bits("broken");
    spec["model"]["source"] = json!(folder);
    let outcome = scratch.run(&spec);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let said = outcome.report["reason"].to_string() + &outcome.stderr;
    assert!(
        said.contains("layer `model.layers.3.mlp.down_proj`: its weights contain NaN or infinity"),
        "{said}"
    );
}
