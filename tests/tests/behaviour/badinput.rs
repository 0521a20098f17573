//! Bad input is a sentence that names the place, and everything else goes on.

use std::fs;
use std::path::Path;

use evopress_spec::{EventKind, RejectedDir, events::Reader};
use evopress_tests::{Daemon, Scratch, fixture, programs, tiny, yaml};
use serde_json::json;

/// A spec that must be refused, as text.
struct Bad {
    name: &'static str,
    text: String,
}

/// Wrong specs: their own mistakes first, then those that only a plugin or the model can tell.
fn bad_specs(scratch: &Scratch) -> Vec<Bad> {
    let changed = |name: &'static str, pointer: &str, value: serde_json::Value| {
        let mut spec = tiny(name);
        *spec.pointer_mut(pointer).unwrap() = value;
        Bad {
            name,
            text: yaml(&spec),
        }
    };
    // Under a relative path, so that the marks under it do not depend on where this repository is.
    for folder in [scratch.path(), &scratch.watched()] {
        fs::write(folder.join("held-out.txt"), "held out").unwrap();
    }
    let mut several = tiny("several");
    several["evaluation"][0]["source"] = json!("held-uot.txt");
    vec![
        Bad {
            name: "syntax",
            text: "apiVersion: evopress/v1\nkind: [Pipeline\nmetadata: {name: x}\n".into(),
        },
        Bad {
            name: "several",
            text: yaml(&several)
                .replace("baselines:", "baselnes:")
                .replace("generations: 8", "generations: many")
                .replace("drop: 0.25", "drop: 25"),
        },
        changed("unknown-method", "/methods/0/plugin", json!("dorp")),
        changed(
            "unknown-fitness",
            "/search",
            json!({"fitness": {"plugin": "perplexty"}, "stages": [{"tokens": 64, "survivors": 1}]}),
        ),
        changed("wrong-kind", "/methods/0/plugin", json!("kl")),
        changed(
            "wrong-option",
            "/methods/0/options",
            json!({"granularity": "sub-blok"}),
        ),
        changed(
            "unknown-option",
            "/methods/0/options",
            json!({"granularty": "block"}),
        ),
        changed("other-measure", "/target", json!({"sparsity": 0.5})),
        changed("out-of-reach", "/target", json!({"drop": 0.1})),
        changed(
            "truncated-safetensors",
            "/model/source",
            json!(truncated_safetensors(scratch)),
        ),
        changed(
            "truncated-gguf",
            "/model/source",
            json!(truncated_gguf(scratch)),
        ),
        changed(
            "not-a-number",
            "/model/source",
            json!(not_a_number(scratch)),
        ),
        changed(
            "architecture",
            "/model/source",
            json!(unknown_architecture(scratch)),
        ),
        changed(
            "no-model",
            "/model/source",
            json!(scratch.path().join("mdoel")),
        ),
        changed(
            "little-text",
            "/calibration/source",
            json!(little_text(scratch)),
        ),
    ]
}

fn copy_of_tiny(target: &Path) {
    fs::create_dir(target).unwrap();
    for entry in fs::read_dir(fixture("tiny")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
    }
}

fn truncated_safetensors(scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.path().join("truncated");
    copy_of_tiny(&folder);
    let weights = folder.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(weights, &bytes[..bytes.len() - 1000]).unwrap();
    folder
}

fn truncated_gguf(scratch: &Scratch) -> std::path::PathBuf {
    let file = scratch.path().join("truncated.gguf");
    let bytes = fs::read(fixture("models/llama3.gguf")).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1000]).unwrap();
    file
}

/// A model whose weights ran away in training.
fn not_a_number(scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.path().join("diverged");
    copy_of_tiny(&folder);
    let weights = folder.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let end = bytes.len();
    bytes[end - 4..].fill(0xff);
    fs::write(weights, bytes).unwrap();
    folder
}

fn unknown_architecture(scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.path().join("mamba");
    copy_of_tiny(&folder);
    let config = fs::read_to_string(folder.join("config.json")).unwrap();
    fs::write(
        folder.join("config.json"),
        config.replace("\"llama\"", "\"mamba\""),
    )
    .unwrap();
    folder
}

fn little_text(scratch: &Scratch) -> std::path::PathBuf {
    let file = scratch.path().join("little.txt");
    fs::write(&file, "Call me Ishmael.\n").unwrap();
    file
}

#[test]
fn each_mistake_is_told_with_its_place_by_the_command_and_by_the_daemon() {
    let scratch = Scratch::new();
    let bad = bad_specs(&scratch);
    let daemon = Daemon::start(&scratch);
    for Bad { name, text } in &bad {
        scratch.drop_text(name, text);
    }
    let mut told = String::new();
    for Bad { name, text } in &bad {
        daemon.wait_for(name, "rejected");
        let record =
            RejectedDir::of_spec(&scratch.state(), &format!("{name}.yaml"), text.as_bytes());
        assert_eq!(fs::read_to_string(record.spec()).unwrap(), *text);
        let mistakes = fs::read_to_string(record.mistakes_txt()).unwrap();
        told.push_str(&scratch.anonymous(&mistakes));
    }
    insta::assert_snapshot!("mistakes", told);

    scratch.drop_spec(&tiny("good"));
    daemon.wait_for("good", "done");
    assert_eq!(
        daemon.metric("evopress_runs{state=\"rejected\"}"),
        Some(bad.len() as f64)
    );
    assert_eq!(daemon.stop().code(), Some(0));

    for Bad { name, text } in bad
        .iter()
        .filter(|bad| ["several", "wrong-option"].contains(&bad.name))
    {
        let outcome = scratch.run_text(name, text);
        assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
        insta::assert_snapshot!(format!("shown-{name}"), scratch.anonymous(&outcome.stderr));
    }
}

#[test]
fn a_text_that_is_a_little_too_short_is_refused_with_a_sentence() {
    let scratch = Scratch::new();
    let text = scratch.path().join("short.txt");
    fs::write(&text, "Call me Ishmael. ".repeat(80)).unwrap(); // bytes enough, tokens too few
    let mut spec = tiny("short");
    spec["calibration"]["source"] = json!(text);
    let outcome = scratch.run(&spec);
    assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("short.txt: ")
            && outcome.stderr.contains("tokens, but 1024 are needed"),
        "{}",
        outcome.stderr
    );
}

/// Breaks a shared library into a plugins folder in each way that one can be broken.
fn broken_plugins(scratch: &Scratch) {
    let folder = scratch.plugins();
    fs::write(
        folder.join("libevopress_garbage.so"),
        "#!/bin/sh\necho not a library\n",
    )
    .unwrap();
    let whole = fs::read(programs().library("evopress_perplexity")).unwrap();
    fs::write(
        folder.join("libevopress_truncated.so"),
        &whole[..whole.len() / 2],
    )
    .unwrap();
    programs().install("fault_wrong_version", &folder);
    programs().install("fault_wrong_layout", &folder);
}

#[test]
fn a_broken_plugin_is_a_sentence_where_it_is_named_and_harmless_where_it_is_not() {
    let scratch = Scratch::new();
    broken_plugins(&scratch);
    let cases = [
        (
            "garbage",
            "libevopress_garbage.so is not a shared library for this machine",
        ),
        (
            "truncated",
            "libevopress_truncated.so is truncated: its headers describe",
        ),
        (
            "fault_wrong_version",
            "was built for plugin ABI version 4000000; this evopressd has version 5: rebuild the plugin",
        ),
        (
            "fault_wrong_layout",
            "libevopress_fault_wrong_layout.so has another layout of the plugin interface",
        ),
    ];
    for (plugin, sentence) in cases {
        let mut spec = tiny("broken");
        spec["search"]["fitness"] = json!({"plugin": plugin});
        let outcome = scratch.run(&spec);
        assert_eq!(outcome.code, Some(78), "{plugin}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(sentence),
            "{plugin}: {}",
            outcome.stderr
        );
    }
    let listing = scratch.evopressd(&["plugins"]).output().unwrap();
    assert!(listing.status.success());
    let listing = String::from_utf8(listing.stdout).unwrap();
    for (_, sentence) in cases {
        assert!(
            listing.contains(sentence),
            "{sentence} is not in\n{listing}"
        );
    }
    scratch.report(&tiny("unharmed"));
}

fn with_fitness(name: &str, plugin: &str, options: &serde_json::Value) -> serde_json::Value {
    let mut spec = tiny(name);
    spec["search"]["fitness"] = json!({"plugin": plugin, "options": options});
    spec
}

/// Attempts that the workers of a run began.
fn attempts(scratch: &Scratch, name: &str) -> usize {
    let events = Reader::new(&scratch.run_dir(name).events()).poll().unwrap();
    events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Started { .. }))
        .count()
}

#[test]
fn a_plugin_that_panics_fails_the_run_with_its_words_and_is_not_tried_again() {
    let scratch = Scratch::new();
    programs().install("fault_panics", &scratch.plugins());
    // What it says of its options it says before anything is read.
    let refused = scratch.run(&with_fitness("create", "panics", &json!({"in": "create"})));
    assert_eq!(refused.code, Some(78), "{}", refused.stderr);
    let sentence = "the fixture panics in create";
    assert!(refused.stderr.contains(sentence), "{}", refused.stderr);
    for place in ["target", "loss"] {
        let outcome = scratch.run(&with_fitness(place, "panics", &json!({"in": place})));
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert_eq!(outcome.report["status"], "failed");
        let reason = outcome.report["reason"].as_str().unwrap();
        assert!(
            reason.contains("panicked")
                && reason.contains(&format!("the fixture panics in {place}")),
            "{reason}"
        );
        assert_eq!(attempts(&scratch, place), 1);
    }
}

#[test]
fn a_plugin_that_crashes_fails_the_run_after_three_attempts_and_the_daemon_lives() {
    let scratch = Scratch::new();
    programs().install("fault_segfaults", &scratch.plugins());
    programs().install("fault_panics", &scratch.plugins());
    let mut daemon = Daemon::start(&scratch);
    scratch.drop_spec(&with_fitness("crashes", "segfaults", &json!({})));
    let run = daemon.wait_for("crashes", "failed");
    let reason = run["reason"].as_str().unwrap();
    assert!(
        reason.contains("killed by signal 11 (SIGSEGV)") && reason.contains("attempt 3 of 3"),
        "{reason}"
    );
    assert_eq!(attempts(&scratch, "crashes"), 3);
    let report = evopress_tests::read_json(&scratch.run_dir("crashes").report_json());
    assert_eq!(
        (&report["status"], &report["reason"]),
        (&json!("failed"), &run["reason"])
    );

    scratch.drop_spec(&with_fitness("panics", "panics", &json!({"in": "loss"})));
    daemon.wait_for("panics", "failed");
    assert_eq!(attempts(&scratch, "panics"), 1);

    scratch.drop_spec(&tiny("after"));
    daemon.wait_for("after", "done");
    assert!(daemon.lives());
    assert_eq!(
        daemon.metric("evopress_worker_attempts_total{outcome=\"crashed\"}"),
        Some(2.0)
    );
}
