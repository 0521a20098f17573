//! `quantization_config`, together with the tensors that it is about.

use std::fs;

use evopress_core::json;
use evopress_source::fixtures;
use serde_json::{Map, Value, json};

use crate::model::open_and_read;
use crate::scratch::{Scratch, append_zeros};

/// More bytes than this no tensor of an input has.
const MAX_BYTES: u64 = 1 << 20;

/// Opens a folder whose input is a JSON object: `quantization_config` goes into its `config.json`,
/// and `tensors` are those of its weights, by name `[type, shape]` or `[type, shape, numbers]`, in
/// which the numbers are of 64 bits and all others are 0.
pub fn quantized(input: &[u8]) {
    thread_local! {
        static FOLDER: Scratch = Scratch::new();
        static CONFIG: Map<String, Value> = config();
    }
    let text = std::str::from_utf8(input).ok();
    let Some(object) = text.and_then(|text| json::object(text).ok()) else {
        return;
    };
    let Some(Value::Object(tensors)) = object.map.get("tensors") else {
        return;
    };
    let settings = object.map.get("quantization_config");
    FOLDER.with(|folder| {
        let mut config = CONFIG.with(Map::clone);
        config.insert(
            "quantization_config".into(),
            settings.cloned().unwrap_or_default(),
        );
        let config = Value::Object(config).to_string();
        folder.write("config.json", config.as_bytes());
        let (header, data, size_bytes) = weights(tensors);
        let header = Value::Object(header).to_string();
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length[..], header.as_bytes(), &data].concat();
        let file = folder.write("model.safetensors", &file);
        append_zeros(&file, size_bytes);
        open_and_read(folder.path());
    });
}

fn config() -> Map<String, Value> {
    let file = fixtures::folder().join("quantized/awq/config.json");
    let text = fs::read_to_string(file).expect("the fixture has a configuration");
    json::object(&text).expect("it is a configuration").map
}

/// The header, the numbers that are not 0, and bytes of the zeros behind them.
fn weights(tensors: &Map<String, Value>) -> (Map<String, Value>, Vec<u8>, u64) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    let mut put = |name: &String, described: &Value, start: u64, size_bytes: u64| {
        let end = start + size_bytes;
        let described =
            json!({"dtype": described[0], "shape": described[1], "data_offsets": [start, end]});
        header.insert(name.clone(), described);
        end
    };
    for (name, described) in tensors {
        if let Some(numbers) = described[2].as_array() {
            let start = data.len() as u64;
            let numbers = numbers.iter().map(|it| it.as_i64().unwrap_or_default());
            data.extend(numbers.flat_map(i64::to_le_bytes));
            put(name, described, start, data.len() as u64 - start);
        }
    }
    let mut end = data.len() as u64;
    for (name, described) in tensors {
        if !described[2].is_array() {
            end = put(name, described, end, size_bytes(described));
        }
    }
    let num_zeros = end - data.len() as u64;
    (header, data, num_zeros)
}

fn size_bytes(described: &Value) -> u64 {
    let width = match described[0].as_str() {
        Some("F32" | "I32") => 4,
        Some("I64") => 8,
        Some("F16" | "BF16") => 2,
        _ => 1,
    };
    let extents = described[1].as_array().into_iter().flatten();
    let numbers = extents.map(|extent| extent.as_u64().unwrap_or_default());
    let numbers = numbers.fold(1_u64, u64::saturating_mul);
    numbers.saturating_mul(width).min(MAX_BYTES)
}
