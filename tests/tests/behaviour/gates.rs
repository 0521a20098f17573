//! A model that misses a quality gate is written and measured, and not published.

use evopress_tests::{Scratch, tiny};
use serde_json::json;

#[test]
fn a_missed_gate_is_exit_code_3_and_nothing_is_published() {
    let scratch = Scratch::new();
    let mut spec = tiny("gated");
    spec["evaluation"][0]["gate"] = json!({"max_perplexity_ratio": 1000.0, "max_kl": 1e-7});
    spec["publish"] = scratch.publish();
    let outcome = scratch.run(&spec);
    assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);

    let report = outcome.report;
    assert_eq!(report["status"], "gate_failed");
    let gates = report["gates"].as_array().unwrap();
    let passed: Vec<_> = gates
        .iter()
        .map(|gate| gate["passed"].as_bool().unwrap())
        .collect();
    assert_eq!(passed, [true, false], "{gates:?}");
    assert!(
        report["reason"].as_str().unwrap().contains("max_kl"),
        "{}",
        report["reason"]
    );
    assert_eq!(report["published"], json!([]));
    assert!(!scratch.registry().exists(), "nothing is published");
    assert!(
        scratch
            .run_dir("gated")
            .model()
            .join("config.json")
            .is_file(),
        "for whoever wants to look"
    );

    let again = scratch.run(&spec);
    assert_eq!(
        (again.code, again.report),
        (Some(3), report),
        "known, and not run again"
    );
}

#[test]
fn a_gate_that_is_met_lets_the_model_through() {
    let scratch = Scratch::new();
    let mut spec = tiny("passed");
    spec["evaluation"][0]["gate"] =
        json!({"max_perplexity": 1e6, "max_perplexity_ratio": 1000.0, "max_kl": 100.0});
    spec["publish"] = scratch.publish();
    let report = scratch.report(&spec);
    assert_eq!(report["gates"].as_array().unwrap().len(), 3);
    assert_eq!(report["published"][0]["version"], "v1");
}
