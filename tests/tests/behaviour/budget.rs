//! The budget holds for every genotype that a run ever kept, and for what is on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evopress_tests::{Scratch, Worker, dropped, fixture, read_json, tiny};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// What may be kept of each group, as in the method's head: `k = ⌊target n⌋` are dropped.
fn check(granularity: &str, target: f64, budget: &[(&str, usize)]) {
    let scratch = Scratch::new();
    let mut spec = tiny("budget");
    spec["methods"][0]["options"]["granularity"] = json!(granularity);
    spec["target"]["drop"] = json!(target);
    spec["search"]["initial"]["baselines"] = json!(true);
    let mut worker = Worker::prepare(&scratch, "run", &spec);
    worker.start();
    let mut seen: Vec<Vec<u16>> = Vec::new();
    let checkpoint = worker.dir().checkpoint().join("search.json");
    loop {
        let ended = worker.ended().is_some();
        if checkpoint.exists() {
            let parent = read_json(&checkpoint)["content"]["state"]["parent"].clone();
            let parent = serde_json::from_value(parent).unwrap();
            if seen.last() != Some(&parent) {
                seen.push(parent);
            }
        }
        if ended {
            break;
        }
    }
    let report = worker.finish();
    let units: Vec<&String> = report["genotype"].as_object().unwrap().keys().collect();
    assert!(!seen.is_empty());
    for genotype in &seen {
        let kept = units
            .iter()
            .zip(genotype)
            .filter(|(_, level)| **level == 0)
            .map(|(unit, _)| unit.as_str());
        assert_eq!(count(kept, granularity), expected(budget), "{genotype:?}");
    }
    let of_report = report["genotype"].as_object().unwrap().iter();
    let kept = of_report
        .filter(|(_, level)| *level == "keep")
        .map(|(unit, _)| unit.as_str());
    assert_eq!(count(kept, granularity), expected(budget));
    for baseline in report["baselines"].as_array().unwrap() {
        let genotype = baseline["genotype"].as_object().unwrap().iter();
        let kept = genotype
            .filter(|(_, level)| *level == "keep")
            .map(|(unit, _)| unit.as_str());
        assert_eq!(
            count(kept, granularity),
            expected(budget),
            "{}",
            baseline["name"]
        );
    }
    check_achieved(&report, &worker.dir().model());
}

fn expected(budget: &[(&str, usize)]) -> BTreeMap<String, usize> {
    budget
        .iter()
        .map(|(group, count)| ((*group).to_owned(), *count))
        .collect()
}

fn count<'a>(units: impl Iterator<Item = &'a str>, granularity: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for unit in units {
        let group = match (granularity, unit) {
            ("free", _) => "sub-block",
            ("block", _) => "block",
            (_, unit) if unit.ends_with(".self_attn") => "attention",
            _ => "mlp",
        };
        *counts.entry(group.to_owned()).or_default() += 1;
    }
    counts
}

/// The report's sizes are those of the files.
fn check_achieved(report: &Value, model: &Path) {
    let achieved = &report["achieved"];
    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    assert_eq!(achieved["size_bytes"], bytes.len());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    // Working: all but the sub-blocks whose output projection is zero, with their norms.
    let is_idle = |name: &str| {
        let output = if name.contains("self_attn.") || name.contains("input_layernorm") {
            "self_attn.o_proj"
        } else if name.contains("mlp.") || name.contains("post_attention_layernorm") {
            "mlp.down_proj"
        } else {
            return false;
        };
        let block: String = name.split('.').take(3).collect::<Vec<_>>().join(".");
        let projection = file.tensor(&format!("{block}.{output}.weight")).unwrap();
        projection.data().iter().all(|byte| *byte == 0)
    };
    let working = file
        .tensors()
        .into_iter()
        .filter(|(name, _)| !is_idle(name));
    let parameters: usize = working
        .map(|(_, tensor)| tensor.shape().iter().product::<usize>())
        .sum();
    assert_eq!(achieved["parameters"], parameters);

    let dense = fs::read(fixture("tiny/model.safetensors")).unwrap();
    let dense = SafeTensors::deserialize(&dense).unwrap();
    let dense_parameters: usize = dense
        .tensors()
        .iter()
        .map(|(_, tensor)| tensor.shape().iter().product::<usize>())
        .sum();
    assert_eq!(achieved["dense_parameters"], dense_parameters);
    assert_eq!(
        achieved["dense_size_bytes"],
        dense_parameters * 4,
        "in the run's f32"
    );
    let share = dropped(report).len() as f64 / report["genotype"].as_object().unwrap().len() as f64;
    assert_eq!(achieved["value"], share);
}

#[test]
fn sub_blocks_are_budgeted_by_kind() {
    check("sub-block", 0.25, &[("attention", 6), ("mlp", 6)]);
}

#[test]
fn blocks_are_budgeted_together() {
    check("block", 0.4, &[("block", 5)]); // 3.2 of 8, so 3
}

#[test]
fn free_sub_blocks_share_one_budget() {
    check("free", 0.25, &[("sub-block", 12)]);
}
