//! Searches over random models with many experts: memory and seconds by the number of layers.
//!
//! `make bench-experts`; `ARGS="12 24"` for other numbers of blocks of 128 experts, 8 of which a
//! token takes. Shapes are small, so that what grows with layers rather than with weights shows.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::Path;

use evopress_tests::{ExpertsShape, Scratch, read_json, repository, write_experts_model, yaml};
use serde_json::{Value, json};

const NUM_EXPERTS: usize = 128;
/// Stages of a run, in their order.
const STAGES: [&str; 7] = [
    "load",
    "database",
    "calibrate",
    "baselines",
    "initial",
    "search",
    "stitch",
];
const THREADS: &str = "2";

fn main() {
    // Cargo passes flags of its own.
    let arguments = std::env::args().skip(1);
    let mut blocks: Vec<usize> = arguments.filter_map(|it| it.parse().ok()).collect();
    if blocks.is_empty() {
        blocks = vec![12, 24, 48];
    }
    println!(
        "| layers | search | weights | peak | beyond weights | {} | all | report.html |",
        STAGES.join(" | ")
    );
    println!("|{}", "---|".repeat(STAGES.len() + 7));
    for num_blocks in blocks {
        let scratch = Scratch::new();
        let model = scratch.path().join("model");
        let shape = ExpertsShape {
            num_blocks,
            num_experts: NUM_EXPERTS,
            num_active: 8,
            hidden: 64,
            intermediate: 32,
        };
        write_experts_model(&model, shape);
        let searches = [
            (
                "fast",
                json!({"mode": "fast", "limit": {"forward_tokens": 60_000}, "grouping": "none"}),
            ),
            (
                "paper",
                json!({
                    "generations": 5, "offspring": 16, "initial": {"genotypes": 4, "tokens": 256}, "grouping": "none",
                    "stages": [{"tokens": 256, "survivors": 4}, {"tokens": 1024, "survivors": 1}],
                }),
            ),
        ];
        for (name, search) in searches {
            let spec = pipeline(name, &model, &search);
            println!(
                "{}",
                row(&scratch, &spec, name, num_blocks * NUM_EXPERTS * 3)
            );
        }
    }
}

/// 3 bits a weight by GPTQ.
fn pipeline(name: &str, model: &Path, search: &Value) -> Value {
    let text = |name: &str| repository().join("pipelines/text").join(name);
    json!({
        "apiVersion": "evopress/v1",
        "kind": "Pipeline",
        "metadata": {"name": name},
        "model": {"source": model, "dtype": "bf16", "device": "cpu"},
        "calibration": {"source": text("calibration.txt"), "tokens": 8192, "sequence_length": 256},
        "methods": [{"plugin": "gptq", "options": {"bits": [2, 3, 4], "group_size": 32}}],
        "target": {"bits_per_weight": 3.0},
        "search": search,
        "baselines": {"random": 2},
        "evaluation": [{"source": text("evaluation.txt"), "tokens": 2048, "sequence_length": 256}],
    })
}

/// A run as a row of the table.
fn row(scratch: &Scratch, spec: &Value, name: &str, num_layers: usize) -> String {
    scratch.write(name, &yaml(spec));
    let arguments = ["run", "--json", &format!("{name}.yaml")];
    let mut command = scratch.evopressd(&arguments);
    let output = command.env("EVOPRESS_THREADS", THREADS).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let folder = scratch.run_dir(name);
    let report = read_json(&folder.report_json());
    let timings = &report["timings"];
    let seconds = STAGES.map(|stage| format!("{:.1} s", timings[stage].as_f64().unwrap_or(0.0)));
    let all = timings.as_object().unwrap().values();
    let all: f64 = all.map(|it| it.as_f64().unwrap()).sum();
    let mb = |key: &Value| key.as_f64().unwrap() / 1e6;
    let (weights, peak) = (
        mb(&report["achieved"]["dense_size_bytes"]),
        mb(&report["peak_memory_bytes"]),
    );
    let page = folder.report_html().metadata().unwrap().len() as f64 / 1e6;
    format!(
        "| {num_layers} | {name} | {weights:.0} MB | {peak:.0} MB | {:.0} MB | {} | {all:.1} s | {page:.2} MB |",
        peak - weights,
        seconds.join(" | "),
    )
}
