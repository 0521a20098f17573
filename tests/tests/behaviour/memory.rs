//! Memory: what `validate` says that a run needs is held against what it takes.

use evopress_tests::{ExpertsShape, Scratch, tiny, write_experts_model, yaml};
use serde_json::{Value, json};

/// What `validate` says of a spec, in bytes.
fn estimated(scratch: &Scratch, spec: &Value) -> f64 {
    let name = spec["metadata"]["name"].as_str().unwrap();
    scratch.write(name, &yaml(spec));
    let path = format!("{name}.yaml");
    let mut command = scratch.evopressd(&["validate", "--json", &path]);
    let answers: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let needed = answers[0]["needs"]["memory_bytes"].as_f64();
    needed.unwrap_or_else(|| panic!("{answers:#}"))
}

/// A run takes no more than was said, and more than a third of it.
fn check(scratch: &Scratch, spec: &Value) {
    let estimated = estimated(scratch, spec);
    let report = scratch.report(spec);
    let peak = report["peak_memory_bytes"].as_f64().unwrap();
    let name = &report["name"];
    println!(
        "{name}: estimated {:.0} MB, peak {:.0} MB",
        estimated / 1e6,
        peak / 1e6
    );
    assert!(
        peak <= estimated && estimated <= 3.0 * peak,
        "{name}: estimated {estimated}, peak {peak}"
    );
}

#[test]
fn runs_over_experts_take_what_was_said() {
    let scratch = Scratch::new();
    let model = scratch.path().join("model");
    let shape = ExpertsShape {
        num_blocks: 2,
        num_experts: 16,
        num_active: 4,
        hidden: 512,
        intermediate: 512,
    };
    write_experts_model(&model, shape);
    let fast = json!({"mode": "fast", "limit": {"forward_tokens": 4000}});
    let paper = json!({
        "generations": 1, "offspring": 2, "initial": {"genotypes": 1, "tokens": 64},
        "stages": [{"tokens": 64, "survivors": 1}],
    });
    for (name, search) in [("fast", fast), ("paper", paper)] {
        let mut spec = tiny(name);
        spec["model"] = json!({"source": model, "dtype": "bf16", "device": "cpu"});
        spec["methods"] =
            json!([{"plugin": "gptq", "options": {"bits": [2, 3, 4], "group_size": 64}}]);
        spec["target"] = json!({"bits_per_weight": 3.0});
        spec["search"] = search;
        spec["search"]["grouping"] = json!("none");
        check(&scratch, &spec);
    }
}
