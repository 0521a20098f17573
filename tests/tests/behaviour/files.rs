//! Models, texts and specs as people have them: what decides no result does no harm, and what would
//! fail a run is told before it begins.

use std::fs;
use std::path::{Path, PathBuf};

use evopress_tests::{Outcome, Scratch, fixture, tiny, write_deep_model, yaml};
use serde_json::{Value, json};

/// A copy of the fixture `tiny`.
fn model(scratch: &Scratch, name: &str) -> PathBuf {
    let folder = scratch.path().join(name);
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(fixture("tiny")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

fn spec_of(model: &Path, name: &str) -> Value {
    let mut spec = tiny(name);
    spec["model"]["source"] = json!(model);
    spec["search"]["generations"] = json!(1);
    spec["baselines"]["random"] = json!(0);
    spec
}

fn dense_perplexity(report: &Value) -> f64 {
    let sets = report["evaluation"].as_array().unwrap();
    let perplexity = sets.iter().find(|it| it["metric"] == "perplexity");
    perplexity.unwrap()["dense"].as_f64().unwrap()
}

/// `evopressd validate --json` of a spec.
fn validate(scratch: &Scratch, spec: &Value) -> Value {
    scratch.write("validated", &yaml(spec));
    let output = scratch
        .evopressd(&["validate", "--json", "validated.yaml"])
        .output()
        .unwrap();
    let answers: Value = serde_json::from_slice(&output.stdout).unwrap();
    answers[0].clone()
}

/// What validate and a run say against a spec, which must be the same.
fn refused(scratch: &Scratch, spec: &Value) -> Vec<String> {
    let mistakes = validate(scratch, spec)["mistakes"].take();
    let lines = mistakes.as_array().unwrap().iter().map(|mistake| {
        let text = |field: &str| mistake[field].as_str().unwrap().to_owned();
        format!("{}: {}", text("path"), text("message"))
    });
    let lines: Vec<String> = lines.map(|line| scratch.anonymous(&line)).collect();
    let Outcome { code, stderr, .. } = scratch.run(spec);
    assert_eq!(code, Some(78), "{stderr}");
    for line in &lines {
        assert!(
            scratch.anonymous(&stderr).contains(line),
            "{line}\n{stderr}"
        );
    }
    lines
}

#[test]
fn settings_for_batches_in_a_tokenizer_are_no_part_of_a_text() {
    let scratch = Scratch::new();
    let plain = dense_perplexity(&scratch.report(&spec_of(&fixture("tiny"), "plain")));
    let padding = json!({"strategy": {"Fixed": 1024}, "direction": "Left", "pad_to_multiple_of": null,
                         "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"});
    let truncation =
        json!({"direction": "Right", "max_length": 100, "strategy": "LongestFirst", "stride": 0});
    for (field, value) in [("padding", padding), ("truncation", truncation)] {
        let folder = model(&scratch, field);
        edit(&folder.join("tokenizer.json"), |it| it[field] = value);
        let report = scratch.report(&spec_of(&folder, field));
        assert_eq!(dense_perplexity(&report), plain, "{field}");
    }
}

#[test]
fn a_head_that_differs_from_the_embedding_is_kept_whatever_the_configuration_says() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("untied");
    write_deep_model(&folder, false, &[]);
    let right = dense_perplexity(&scratch.report(&spec_of(&folder, "untied")));
    edit(&folder.join("config.json"), |it| {
        it["tie_word_embeddings"] = json!(true);
    });
    let report = scratch.report(&spec_of(&folder, "called-tied"));
    assert_eq!(dense_perplexity(&report), right);
    let config = scratch.run_dir("called-tied").model().join("config.json");
    let config = evopress_tests::read_json(&config);
    assert_eq!(config["tie_word_embeddings"], json!(false));
}

#[test]
fn texts_are_counted_in_tokens_before_a_run() {
    let scratch = Scratch::new();
    let text = scratch.path().join("short.txt");
    fs::write(&text, "Call me Ishmael. ".repeat(35)).unwrap(); // bytes enough, tokens too few
    let mut spec = tiny("short");
    spec["evaluation"][0]["source"] = json!(text);
    let told = refused(&scratch, &spec);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("$.evaluation[0].tokens: SCRATCH/short.txt: ")
            && told[0].ends_with(" tokens, but 512 are needed"),
        "{told:?}"
    );
}

#[test]
fn tokens_without_an_embedding_are_told_before_a_run() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("model");
    write_deep_model(&folder, false, &[]);
    edit(&folder.join("tokenizer.json"), |it| {
        let added = json!({"id": 384, "content": "whale", "single_word": false, "lstrip": false,
                           "rstrip": false, "normalized": false, "special": false});
        it["added_tokens"].as_array_mut().unwrap().push(added);
    });
    let text = scratch.path().join("held-out.txt");
    fs::write(
        &text,
        format!("One.\nA whale. {}", "Call me Ishmael. ".repeat(300)),
    )
    .unwrap();
    let mut spec = spec_of(&folder, "beyond");
    spec["evaluation"][0]["source"] = json!(text);
    let told = refused(&scratch, &spec);
    let expected = "$.evaluation[0].source: SCRATCH/held-out.txt: token 384 (\"whale\") at line 2, column 3 is not \
                    among the model's 384 embeddings";
    assert!(told.contains(&expected.to_owned()), "{told:?}");
}

#[test]
fn what_plugins_and_devices_say_is_told_with_the_specs_own_mistakes() {
    let scratch = Scratch::new();
    let mut spec = tiny("all");
    spec["model"]["source"] = json!("no-such-model");
    spec["methods"][0]["options"]["granularity"] = json!("atom");
    spec["search"]["fitness"] = json!({"plugin": "perplexty"});
    spec["search"]["offspring"] = json!(0);
    let told = refused(&scratch, &spec);
    let begins = |start: &str| {
        assert!(
            told.iter().any(|it| it.starts_with(start)),
            "{start}: {told:?}"
        )
    };
    begins("$.model.source: `no-such-model` is not there");
    begins("$.methods[0].options.granularity: ");
    begins("$.search.fitness.plugin: ");
    begins("$.search.offspring: ");
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn what_lies_beside_a_model_is_no_part_of_its_run() {
    let scratch = Scratch::new();
    let folder = model(&scratch, "model");
    let first = scratch.report(&spec_of(&folder, "beside"))["run"].clone();
    fs::create_dir(folder.join("onnx")).unwrap();
    fs::write(folder.join("onnx/model.onnx"), "weights").unwrap();
    fs::write(folder.join("pytorch_model.bin.index.json"), "{}").unwrap();
    std::os::unix::fs::symlink("../blobs/0123", folder.join("pytorch_model.bin")).unwrap();
    assert_eq!(scratch.report(&spec_of(&folder, "beside"))["run"], first);
    fs::write(folder.join("generation_config.json"), "{\"top_k\": 7}").unwrap();
    assert_ne!(scratch.report(&spec_of(&folder, "beside"))["run"], first);
}

#[test]
fn small_files_that_decide_no_result_are_left_out_with_a_warning() {
    let scratch = Scratch::new();
    let folder = model(&scratch, "model");
    fs::write(
        folder.join("generation_config.json"),
        "\u{FEFF}{\"temperature\": NaN, \"top_k\": 7}",
    )
    .unwrap();
    fs::write(folder.join("special_tokens_map.json"), "").unwrap();
    edit(&folder.join("config.json"), |it| {
        it["pad_token_id"] = json!(32_000)
    });
    let spec = spec_of(&folder, "odd");
    let warned = validate(&scratch, &spec)["warnings"].take();
    let report = scratch.report(&spec);
    let of_run = report["warnings"].as_array().unwrap();
    for part in [
        "generation_config.json: the artifact goes without fields whose numbers are not finite: temperature",
        "special_tokens_map.json: it is empty",
        "the padding token 32000 is not among the model's 384 tokens",
    ] {
        let has = |it: &Value| it.as_str().unwrap().contains(part);
        assert!(of_run.iter().any(has), "{part}: {of_run:?}");
        let mut of_validate = warned.as_array().unwrap().iter();
        assert!(
            of_validate.any(|it| has(&it["message"])),
            "{part}: {warned}"
        );
    }
    let written = scratch
        .run_dir("odd")
        .model()
        .join("generation_config.json");
    assert_eq!(evopress_tests::read_json(&written), json!({"top_k": 7}));
}

#[test]
fn long_sequences_and_texts_of_one_token_are_warned_about() {
    let scratch = Scratch::new();
    let text = scratch.path().join("one.txt");
    fs::write(&text, "aaaaaaaa".repeat(4000)).unwrap();
    let mut spec = tiny("warned");
    spec["calibration"]["source"] = json!(text);
    spec["evaluation"][0]["sequence_length"] = json!(512);
    let answer = validate(&scratch, &spec);
    assert_eq!(answer["valid"], true, "{answer:#}");
    let warnings: Vec<String> = answer["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            format!(
                "{}: {}",
                it["path"].as_str().unwrap(),
                it["message"].as_str().unwrap()
            )
        })
        .collect();
    assert!(
        warnings.contains(
            &"$.evaluation[0].sequence_length: sequences of 512 tokens are longer than the 256 that the model was made for"
                .to_owned()
        ),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|it| it.starts_with("$.calibration.source: ") && it.contains(" of the tokens of ")),
        "{warnings:?}"
    );
}

/// That every weight was scanned is remembered where runs share things. A check that finds it there
/// scans no more, until a file has changed.
#[test]
fn weights_that_have_passed_are_scanned_once() {
    let scratch = Scratch::new();
    let records = scratch.state().join("cache/checks");
    let count = || fs::read_dir(&records).map_or(0, Iterator::count);
    let settled = spec_of(&fixture("tiny"), "settled");
    assert_eq!(validate(&scratch, &settled)["valid"], true);
    assert_eq!(count(), 0, "nobody has worked there yet");
    scratch.report(&settled);
    assert_eq!(count(), 1);
    let record = fs::read_dir(&records)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read_to_string(&record).unwrap();
    for file in ["config.json", "model.safetensors"] {
        assert!(
            text.contains(&fixture("tiny").join(file).display().to_string()),
            "{text}"
        );
    }
    // As if the weights had changed since: they are scanned, and that is recorded.
    fs::write(&record, text.replace("\"size_bytes\":", "\"size_bytes\":1")).unwrap();
    assert_eq!(validate(&scratch, &settled)["valid"], true);
    assert_eq!(fs::read_to_string(&record).unwrap(), text);
}

/// What another program would stumble over is told, and computed all the same.
#[test]
fn nulls_and_idle_settings_are_warned_about() {
    let scratch = Scratch::new();
    let folder = model(&scratch, "idle");
    edit(&folder.join("config.json"), |config| {
        config["rms_norm_eps"] = Value::Null;
        config["quantization_config"] =
            json!({"quant_method": "gptq", "bits": 4, "group_size": 32});
    });
    let answer = validate(&scratch, &spec_of(&folder, "idle"));
    assert_eq!(answer["valid"], true, "{answer:#}");
    let warnings = answer["warnings"].to_string();
    for part in [
        "rms_norm_eps of config.json is null",
        "has a quantization_config (gptq), but all weights are plain",
    ] {
        assert!(warnings.contains(part), "{warnings}");
    }
}
