//! The code that model cards show for loading, run as a reader would: only the path is replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use evopress_tests::{Scratch, code_blocks, node_output, python_output, tiny, write_deep_model};
use serde_json::{Value, json};

use crate::levels::pipeline;

enum Runs {
    Python,
    Node,
    /// Why it does not install on a machine without a GPU.
    NotHere(&'static str),
}

/// Runtimes by a text that is in their snippets only.
static RUNTIMES: [(&str, Runs); 5] = [
    ("from transformers import", Runs::Python),
    ("from \"node-llama-cpp\"", Runs::Node),
    (
        "from vllm import",
        Runs::NotHere(
            "its wheels need CUDA's libraries and a GPU; `depth.rs` reads its layout as its code does",
        ),
    ),
    (
        "from gptqmodel import",
        Runs::NotHere(
            "it is built from source, against a GPU's libraries; `packed.rs` reads its layout",
        ),
    ),
    (
        "llama-cli ",
        Runs::NotHere("no registry has the program prebuilt; node-llama-cpp has the same library"),
    ),
];

/// Runs what can be run of a run's model card; the runtimes whose snippets it has.
fn run_card(scratch: &Scratch, spec: &Value) -> BTreeSet<&'static str> {
    scratch.report(spec);
    let name = spec["metadata"]["name"].as_str().unwrap();
    let model = scratch.run_dir(name).model();
    let card = fs::read_to_string(model.join("README.md")).unwrap();
    let folder = scratch.path().join(format!("{name}-snippets"));
    fs::create_dir(&folder).unwrap();
    let mut found = BTreeSet::new();
    for (_, code) in code_blocks(&card) {
        let mut runtimes = RUNTIMES.iter().filter(|(text, _)| code.contains(text));
        let (runtime, runs) = runtimes
            .next()
            .unwrap_or_else(|| panic!("whose snippet is this?\n{code}"));
        found.insert(*runtime);
        assert!(code.contains("PATH"), "{code}");
        let code = code.replace("PATH", &model.display().to_string());
        run_snippet(&code, runs, &folder);
    }
    found
}

fn run_snippet(code: &str, runs: &Runs, folder: &Path) {
    let printed = match runs {
        Runs::Python => python_output(code, folder),
        Runs::Node => node_output(code, folder),
        Runs::NotHere(reason) => {
            assert!(!reason.is_empty());
            return;
        }
    };
    // Random weights go on with anything, but with something.
    assert!(!printed.trim().is_empty(), "{code}");
}

#[test]
fn what_a_card_shows_for_packed_artifacts_runs() {
    let scratch = Scratch::new();
    let options = json!({"bits": [4, 8], "group_size": "row", "symmetric": true});
    let mut spec = pipeline("rows", "rtn", &options, &json!({"bits_per_weight": 6.0}));
    spec["search"]["grouping"] = json!("tied");
    let formats = ["huggingface", "gguf", "compressed-tensors", "gptq"];
    spec["artifacts"] = formats.iter().map(|it| json!({"format": it})).collect();
    let found = run_card(&scratch, &spec);
    let all: BTreeSet<&str> = RUNTIMES.iter().map(|(runtime, _)| *runtime).collect();
    assert_eq!(found, all);
}

#[test]
fn what_a_card_shows_for_dropped_sub_blocks_runs() {
    let scratch = Scratch::new();
    let source = scratch.path().join("dense");
    write_deep_model(&source, false, &[]);
    let mut spec = tiny("dropped");
    spec["model"]["source"] = json!(source);
    spec["artifacts"] = json!([{"format": "nemotron-nas"}, {"format": "gguf"}]);
    let found = run_card(&scratch, &spec);
    let expected = [
        "from transformers import",
        "from \"node-llama-cpp\"",
        "from vllm import",
        "llama-cli ",
    ];
    assert_eq!(found, BTreeSet::from(expected));
}
