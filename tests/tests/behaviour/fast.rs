//! Fast mode: every kind of budget, limits that end it, and the same result after a death.

use evopress_tests::{Scratch, Worker, programs, timeless, tiny};
use serde_json::{Value, json};

/// The fast search of a pipeline, which ends after so many forward tokens.
fn fast(mut spec: Value, forward_tokens: u64) -> Value {
    let grouping = spec["search"]["grouping"].clone();
    spec["search"] = json!({"mode": "fast", "limit": {"forward_tokens": forward_tokens}});
    if !grouping.is_null() {
        spec["search"]["grouping"] = grouping;
    }
    spec["calibration"]["tokens"] = json!(2048);
    spec
}

fn half_dropped(name: &str) -> Value {
    let mut spec = tiny(name);
    spec["target"] = json!({"drop": 0.5});
    spec
}

fn joint(name: &str) -> Value {
    let mut spec = tiny(name);
    spec["methods"] = json!([
        {"plugin": "rtn", "options": {"bits": [2, 3, 4, 6], "group_size": 32}},
        {"plugin": "drop", "options": {"granularity": "free"}},
    ]);
    spec["target"] = json!({"compression": 5.0});
    spec["search"]["grouping"] = json!("tied");
    spec
}

#[test]
fn every_kind_of_budget_is_searched_and_kept() {
    let scratch = Scratch::new();
    let most = |value: &Value, limit: f64| value.as_f64().unwrap() <= limit + 1e-9;
    for spec in [
        half_dropped("fast-drop"),
        crate::levels::three_bits("fast-bits"),
        joint("fast-joint"),
    ] {
        let report = scratch.report(&fast(spec, 15_000));
        let search = &report["search"];
        assert_eq!(report["status"], "done", "{report}");
        assert_eq!(search["mode"], "fast");
        assert_eq!(search["ended"], "the forward tokens of its limit are spent");
        assert!(search["forward_tokens"].as_u64().unwrap() >= 15_000);
        let achieved = report["achieved"]["value"].as_f64().unwrap();
        match report["achieved"]["measure"].as_str().unwrap() {
            "drop" => assert_eq!(achieved, 0.5),
            "bits_per_weight" => assert!(most(&report["achieved"]["value"], 3.0)),
            _ => assert!(achieved >= 5.0),
        }
        let history = search["history"].as_array().unwrap();
        let fitness = |entry: &Value| entry["best_fitness"].as_f64().unwrap();
        assert!(history.len() > 2 && fitness(&history[history.len() - 1]).is_finite());
    }
}

#[test]
fn a_killed_search_ends_like_an_undisturbed_one() {
    let scratch = Scratch::new();
    let spec = fast(half_dropped("fast-kills"), 50_000);
    let mut worker = Worker::prepare(&scratch, "undisturbed", &spec);
    worker.start();
    let expected = timeless(worker.finish());
    let mut worker = Worker::prepare(&scratch, "killed", &spec);
    for generation in [1, 2, 3] {
        worker.start();
        worker.wait_for_generation(generation);
        worker.kill();
    }
    worker.start();
    assert_eq!(timeless(worker.finish()), expected);
}

#[test]
fn a_fitness_without_a_gradient_is_searched_without_predictions_and_says_so() {
    let scratch = Scratch::new();
    programs().install("evopress_minimal", &scratch.plugins());
    let mut spec = fast(half_dropped("fast-regret"), 8_000);
    spec["search"]["fitness"] = json!({"plugin": "regret"});
    let report = scratch.report(&spec);
    let warnings = report["warnings"].as_array().unwrap();
    let said = warnings.iter().filter_map(Value::as_str);
    assert!(
        said.clone()
            .any(|text| text.contains("fitness `regret` has no usable gradient")),
        "{warnings:?}"
    );
}

#[test]
fn settings_of_the_other_search_are_refused() {
    let scratch = Scratch::new();
    let mut spec = fast(tiny("fast-mixed"), 1000);
    spec["search"]["generations"] = json!(8);
    let outcome = scratch.run(&spec);
    assert_eq!(outcome.code, Some(78));
    assert!(
        outcome.stderr.contains("which belongs to `mode: paper`"),
        "{}",
        outcome.stderr
    );
}
