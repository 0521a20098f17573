//! Logits of families with experts agree with transformers': in f32 to 1e-4 relative, in bf16 as
//! well as transformers' own bf16 does, on small random models.
//!
//! The bf16 bound is on the median token: where rounding sends a token to another expert, in either
//! implementation, its logits are far off by chance.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use evopress::device::of_tests;
use evopress::model::{BlockWeights, Model, Observed};
use evopress::source::Source;
use evopress::tensor::Weight;
use evopress_source::fixtures;
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

const MAX_F32_ERROR: f64 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    bf16_median_error: f64,
}

fn folder(name: &str) -> PathBuf {
    fixtures::folder().join("experts").join(name)
}

fn open(name: &str, kind: Kind) -> Model {
    let source = Arc::new(Source::open(&folder(name)).unwrap());
    Model::open(&source, kind, of_tests(), vec![], u64::MAX).unwrap()
}

fn tensors(name: &str) -> HashMap<String, Tensor> {
    let tensors = Tensor::read_safetensors(folder(name).join("expected.safetensors")).unwrap();
    tensors.into_iter().collect()
}

fn check(name: &str) {
    let tensors = tensors(name);
    let (ids, expected) = (&tensors["input_ids"], &tensors["logits"]);
    let ids = Vec::<i64>::try_from(ids).unwrap();
    let text = std::fs::read_to_string(folder(name).join("expected.json")).unwrap();
    let bound: Expected = serde_json::from_str(&text).unwrap();
    let logits = |kind| {
        let model = open(name, kind);
        tch::no_grad(|| model.logits(&ids).unwrap()).to_device(Device::Cpu)
    };
    let f32_error = (logits(Kind::Float) - expected).abs().max() / expected.abs().max();
    let f32_error = f32_error.double_value(&[]);
    let of_tokens =
        (logits(Kind::BFloat16) - expected)
            .square()
            .mean_dim(1i64, false, Kind::Double);
    let rms = expected.square().mean(Kind::Double).sqrt();
    let bf16_error = (of_tokens.sqrt() / rms).median().double_value(&[]);
    let of_transformers = bound.bf16_median_error;
    println!("{name}: f32 {f32_error:.1e}, bf16 {bf16_error:.2e} ({of_transformers:.2e})");
    assert!(
        f32_error < MAX_F32_ERROR,
        "{name}: f32 error {f32_error:.2e}"
    );
    assert!(
        bf16_error <= of_transformers,
        "{name}: bf16 error {bf16_error:.2e}, transformers' is {of_transformers:.2e}"
    );
}

#[test]
fn mixtral() {
    check("mixtral");
}

#[test]
fn qwen3_moe_with_a_dense_block() {
    check("qwen3-moe");
}

#[test]
fn qwen3_moe_without_renormalisation() {
    check("qwen3-moe-plain");
}

#[test]
fn qwen2_moe_with_a_shared_expert() {
    check("qwen2-moe");
}

#[test]
fn qwen2_moe_renormalised_without_biases() {
    check("qwen2-moe-renormalized");
}

#[test]
fn qwen_without_dense_blocks() {
    check("qwen2-moe-all");
    check("qwen2-moe-untied");
    check("qwen3-moe-all");
}

#[test]
fn olmoe() {
    check("olmoe");
    check("olmoe-all-heads");
}

#[test]
fn granitemoe_with_stacked_weights() {
    check("granitemoe");
}

/// Each token is seen by as many experts as it takes, and the weights of no other are asked for.
#[test]
fn tokens_go_to_as_many_experts_as_they_take() {
    let model = open("olmoe", Kind::Float);
    let ids = tensors("olmoe")["input_ids"].view([-1]);
    let tokens = Vec::<i64>::try_from(&ids).unwrap();
    let (spec, mut stream) = (&model.spec().blocks[0], model.embed(&[&tokens]).unwrap());
    let weights: Vec<Weight> = (0..spec.layers.len())
        .map(|slot| Weight::new(model.plain_weight(slot, None, Kind::Float).unwrap()).unwrap())
        .collect();
    let weights = BlockWeights::of_all_rows(&weights);
    let mut taken = vec![0; tokens.len()];
    let mut gates = vec![0.0; taken.len()];
    let mut rows_of_expert: HashMap<u32, Vec<i64>> = HashMap::new();
    model
        .mlp(0, &mut stream, &weights, &mut |observed| match observed {
            Observed::Input(input) => {
                let (expert, rows) = input.routed.unwrap();
                assert_eq!(input.values.size()[0], rows.len() as i64);
                assert!(rows.is_sorted());
                rows_of_expert.insert(expert, rows.to_vec());
            }
            Observed::Output(output) => {
                for (&row, gate) in rows_of_expert[&output.expert].iter().zip(output.gates) {
                    taken[row as usize] += 1;
                    gates[row as usize] += gate;
                }
            }
        })
        .unwrap();
    assert_eq!(
        taken.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([3])
    );
    // Without renormalisation the probabilities of the others are lost.
    assert!(
        gates.iter().all(|&sum| sum > 3.0 / 8.0 && sum < 1.0),
        "{gates:?}"
    );
}
