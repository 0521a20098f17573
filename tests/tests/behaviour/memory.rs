//! Memory: what `validate` says that a run needs is held against what it takes.

use std::path::Path;

use evopress_tests::{ExpertsShape, Scratch, tiny, write_experts_model, yaml};
use serde_json::{Value, json};

/// What `validate` says that a spec needs.
fn needs(scratch: &Scratch, spec: &Value) -> Value {
    let name = spec["metadata"]["name"].as_str().unwrap();
    scratch.write(name, &yaml(spec));
    let path = format!("{name}.yaml");
    let mut command = scratch.evopressd(&["validate", "--json", &path]);
    let answers: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let needs = answers[0]["needs"].clone();
    assert!(needs.is_object(), "{answers:#}");
    needs
}

/// A run takes what was said, within 25 % in both directions.
fn check(scratch: &Scratch, spec: &Value) -> Value {
    let estimated = needs(scratch, spec)["memory_bytes"].as_f64().unwrap();
    let report = scratch.report(spec);
    let peak = report["peak_memory_bytes"].as_f64().unwrap();
    let name = &report["name"];
    println!(
        "{name}: estimated {:.0} MB, peak {:.0} MB",
        estimated / 1e6,
        peak / 1e6
    );
    assert!(
        (0.8 * estimated..1.25 * estimated).contains(&peak),
        "{name}: estimated {estimated}, peak {peak}"
    );
    report
}

/// With the least memory that `validate` names, weights are streamed: the same result.
#[test]
fn less_memory_gives_the_same_result() {
    let model = Scratch::new();
    let folder = model.path().join("model");
    let shape = ExpertsShape {
        num_blocks: 6,
        num_experts: 8,
        num_active: 2,
        hidden: 1024,
        intermediate: 1024,
    };
    write_experts_model(&folder, shape);
    let mut spec = tiny("streamed");
    spec["model"] = json!({"source": folder, "dtype": "bf16", "device": "cpu"});
    spec["search"] = json!({
        "generations": 1, "offspring": 3, "initial": {"genotypes": 2, "tokens": 64},
        "stages": [{"tokens": 128, "survivors": 1}],
    });
    let (plenty, least) = (Scratch::new(), Scratch::new());
    let needs = needs(&plenty, &spec);
    let bytes = |of: &str| needs[of].as_u64().unwrap();
    assert!(
        bytes("least_bytes") < bytes("memory_bytes") - (100 << 20),
        "{needs}"
    );
    let expected = check(&plenty, &spec);
    spec["limits"] = json!({"memory": bytes("least_bytes")});
    let found = check(&least, &spec);
    let peak = |report: &Value| report["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak(&found) < peak(&expected));
    for of in ["genotype", "evaluation"] {
        assert_eq!(found[of], expected[of], "{of}");
    }
    assert_eq!(
        found["search"]["best_fitness"],
        expected["search"]["best_fitness"]
    );
    let weights = |report: &Value| {
        let folder = report["artifacts"][0]["path"].as_str().unwrap();
        std::fs::read(Path::new(folder).join("model.safetensors")).unwrap()
    };
    assert!(
        weights(&found) == weights(&expected),
        "the artifacts differ"
    );
    // Less than the least is refused with the figure.
    spec["limits"] = json!({"memory": bytes("least_bytes") / 2});
    least.write("streamed", &yaml(&spec));
    let output = least
        .evopressd(&["validate", "streamed.yaml"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("a run needs at least"), "{text}");
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
