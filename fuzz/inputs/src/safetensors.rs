//! A file of weights, whose header says which tensors there are.

use std::fs;

use evopress_source::fixtures;

use crate::model::open_and_read;
use crate::scratch::{Scratch, append_zeros};

/// The configurations that the weights are read by, by the input's first byte.
const CONFIGS: [&str; 18] = [
    "models/gqa-tied",
    "models/biased",
    "families/phi3",
    "families/gemma3-nested",
    "experts/granitemoe",
    "quantized/awq",
    "quantized/fbgemm-fp8",
    "quantized/float-quantized",
    "quantized/fp8-blocks",
    "quantized/fp8-tensors",
    "quantized/gptq-8bit",
    "quantized/gptq-act-order",
    "quantized/gptq-rows",
    "quantized/int-quantized",
    "quantized/pack-act-order",
    "quantized/pack-mixed",
    "quantized/pack-quantized",
    "experts/qwen2-moe",
];
/// More than the tensors of any of them.
const ALL_TENSORS: u64 = 1 << 18;

/// Opens a folder with these weights: the first byte says which configuration it has, the rest is
/// the file. It is opened once more with zeros behind it, so that a header alone is enough.
pub fn safetensors(input: &[u8]) {
    thread_local! {
        static FOLDER: Scratch = Scratch::new();
        static TEXTS: Vec<Vec<u8>> = CONFIGS
            .iter()
            .map(|name| fs::read(fixtures::folder().join(name).join("config.json")))
            .collect::<Result<_, _>>()
            .expect("the fixtures have configurations");
    }
    let Some((config, weights)) = input.split_first() else {
        return;
    };
    FOLDER.with(|folder| {
        TEXTS.with(|texts| {
            let text = &texts[usize::from(*config) % texts.len()];
            folder.write("config.json", text);
        });
        let file = folder.write("model.safetensors", weights);
        open_and_read(folder.path());
        append_zeros(&file, ALL_TENSORS);
        open_and_read(folder.path());
    });
}
