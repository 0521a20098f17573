//! Weights for any model: zeros that take no room.

use std::collections::BTreeMap;

use evopress_source::ModelSpec;
use serde_json::{Map, Value, json};

use crate::scratch::{Scratch, append_zeros};

/// Models with more tensors or bytes get none of them.
const MAX_TENSORS: usize = 1000;
const MAX_BYTES: u64 = 1 << 22;

/// Writes `model.safetensors` with all tensors of a model in BF16, or with none where that would be
/// much.
pub(crate) fn write(spec: Option<&ModelSpec>, folder: &Scratch) {
    let (header, size_bytes) = spec.and_then(header).unwrap_or_default();
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    let file = folder.write(
        "model.safetensors",
        &[&length[..], header.as_bytes()].concat(),
    );
    append_zeros(&file, size_bytes);
}

/// The header, and bytes of all tensors.
fn header(spec: &ModelSpec) -> Option<(Map<String, Value>, u64)> {
    // At least two layers a block, and three an expert.
    if spec.num_layers() > MAX_TENSORS {
        return None;
    }
    let mut shapes = BTreeMap::new();
    for tensor in spec.tensors() {
        let (name, shape) = match tensor.stored {
            Some(stored) => (stored.name, stored.shape),
            None => (tensor.name, tensor.shape),
        };
        shapes.insert(name, shape);
    }
    let (mut header, mut end) = (Map::new(), 0_u64);
    for (name, shape) in shapes {
        let start = end;
        let numbers = shape.iter().try_fold(1_u64, |product, extent| {
            product.checked_mul(u64::try_from(*extent).ok()?)
        });
        end = numbers?.checked_mul(2)?.checked_add(start)?;
        let tensor = json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name, tensor);
    }
    (end <= MAX_BYTES).then_some((header, end))
}
