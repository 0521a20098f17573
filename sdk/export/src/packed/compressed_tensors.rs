//! compressed-tensors' `pack-quantized`: for a weight `[N, K]` of `b` bits with G scales a row
//!
//! | tensor | | |
//! |---|---|---|
//! | `weight_packed` | int32 `[N, ⌈K·b/32⌉]` | a row's codes as one little-endian bit stream |
//! | `weight_scale` | f16 `[N, G]` | |
//! | `weight_zero_point` | int32 `[⌈N·b/32⌉, G]` | a group's zeros, over the rows, as one bit stream; none where symmetric |
//! | `weight_shape` | int64 `[2]` | N, K |
//!
//! The package counts codes and zeros from −2^(b−1) and stores them from 0, as the level database
//! does. Widths that do not divide 32 run over the ends of words, as the package has it since 0.18;
//! those that do are laid out the same in all its releases.

use std::collections::BTreeMap;

use evopress_plugin::{pack_codes, unpack_codes};
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};

use super::grid::Grid;
use super::words::{transposed, words};
use super::{Layer, Layers, Rows};
use crate::file_tensor::{FileTensor, whole};

/// The tensors of a layer whose packed parts are `parts`.
pub(super) fn tensors<'a>(layer: &Layer<'_>, parts: &[Rows<'a>]) -> Vec<FileTensor<'a>> {
    let (rows, columns, groups) = (layer.rows(), layer.columns(), layer.groups());
    let bits = layer.grid.bits;
    let num_words = |count: usize| (count * usize::from(bits)).div_ceil(32);
    let (codes, scales) = (parts[0].clone(), parts[1].clone());
    let tensor = |name: &str, dtype, shape, bytes| FileTensor {
        name: format!("{}.{name}", layer.module()),
        dtype,
        shape,
        bytes,
    };
    let mut tensors = vec![
        tensor(
            "weight_packed",
            Dtype::I32,
            vec![rows, num_words(columns)],
            whole(move || Ok(words(&codes.bytes(), rows).into_flattened())),
        ),
        tensor(
            "weight_scale",
            Dtype::F16,
            vec![rows, groups],
            whole(move || Ok(scales.bytes().into_owned())),
        ),
        tensor(
            "weight_shape",
            Dtype::I64,
            vec![2],
            whole(move || {
                let shape = [rows, columns];
                Ok(shape.map(|it| (it as i64).to_le_bytes()).concat())
            }),
        ),
    ];
    if !layer.grid.symmetric {
        let zeros = parts[2].clone();
        tensors.push(tensor(
            "weight_zero_point",
            Dtype::I32,
            vec![num_words(rows), groups],
            whole(move || {
                let by_group = transposed(&unpack_codes(&zeros.bytes(), bits, groups), rows);
                let words = words(&pack_codes(&by_group, bits, rows), groups);
                Ok(transposed(&words, groups).into_flattened())
            }),
        ));
    }
    tensors
}

/// `quantization_config`: a group for each kind of grid, with its modules by name. None where no
/// layer is packed.
pub(super) fn config(layers: &Layers<'_>) -> Option<Value> {
    let mut by_grid: BTreeMap<Grid, Vec<&str>> = BTreeMap::new();
    for layer in &layers.packed {
        by_grid.entry(layer.grid).or_default().push(layer.module());
    }
    let mut groups = Map::new();
    for (idx, (grid, targets)) in by_grid.into_iter().enumerate() {
        let strategy = match grid.group_size {
            Some(_) => "group",
            None => "channel",
        };
        let group = json!({
            "targets": targets,
            "weights": {
                "num_bits": grid.bits,
                "type": "int",
                "symmetric": grid.symmetric,
                "strategy": strategy,
                "group_size": grid.group_size,
                "dynamic": false,
            },
            "input_activations": null,
            "output_activations": null,
        });
        groups.insert(format!("group_{idx}"), group);
    }
    let ignore: Vec<&str> = [layers.layout.spec.head.name.as_str()]
        .into_iter()
        .chain(layers.dense.iter().copied())
        .collect();
    (!groups.is_empty()).then(|| {
        json!({
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "config_groups": groups,
            "ignore": ignore,
        })
    })
}
