//! Experts as transformers 5 has them in memory. Its own writer takes them apart again; a folder
//! that was written without it (the tensors of a model as they are) has two tensors a block for the
//! layers of all experts, and a router of another name.

use std::collections::HashMap;

use super::weight_files::WeightFiles;
use crate::families::NamesInMemory;
use crate::spec::{LayerRole, ModelSpec, StoredRows, TensorPart, TensorSpec};

/// Where tensors of experts lie, by the names that files have for them otherwise; empty where the
/// files have those.
pub(super) fn places(
    files: &WeightFiles,
    names: &NamesInMemory,
    spec: &ModelSpec,
) -> HashMap<String, StoredRows> {
    let mut places = HashMap::new();
    let stacked = |block_idx: usize, layers: &str| {
        let block = spec.block_name(block_idx);
        format!("{block}.{}.{layers}", names.experts)
    };
    let router = |block_idx: usize| {
        let block = spec.block_name(block_idx);
        format!("{block}.{}.weight", names.router)
    };
    let blocks = 0..spec.num_blocks();
    let is_stacked: Vec<bool> = blocks
        .clone()
        .map(|idx| {
            [GATE_UP, DOWN]
                .iter()
                .any(|it| files.has(&stacked(idx, it)))
        })
        .collect();
    let has_router: Vec<bool> = blocks.map(|idx| files.has(&router(idx))).collect();
    if !is_stacked.contains(&true) && !has_router.contains(&true) {
        return places;
    }
    for tensor in spec.tensors() {
        let Some(block_idx) = tensor.part.block_idx() else {
            continue;
        };
        let place = match tensor.part {
            TensorPart::Router { .. } if has_router[block_idx] => Some(StoredRows {
                name: router(block_idx),
                shape: tensor.shape.clone(),
                first_row: 0,
            }),
            _ if is_stacked[block_idx] => {
                of_expert(spec, &tensor, |layers| stacked(block_idx, layers))
            }
            _ => None,
        };
        if let Some(place) = place {
            places.insert(tensor.name, place);
        }
    }
    places
}

/// `[experts, 2 · width, hidden]`, gates above ups.
const GATE_UP: &str = "gate_up_proj";
/// `[experts, hidden, width]`.
const DOWN: &str = "down_proj";

/// Where the weight of a layer of an expert lies.
fn of_expert(
    spec: &ModelSpec,
    tensor: &TensorSpec,
    stacked: impl Fn(&str) -> String,
) -> Option<StoredRows> {
    let layer = spec.layer_of(tensor.part)?;
    let expert = i64::from(layer.expert?);
    let experts = spec.blocks[tensor.part.block_idx()?].experts()?;
    let (rows, columns) = (layer.out_features, layer.in_features);
    let (layers, rows_of_expert, first) = match layer.role {
        LayerRole::Gate => (GATE_UP, 2 * rows, 0),
        LayerRole::Up => (GATE_UP, 2 * rows, rows),
        _ => (DOWN, rows, 0),
    };
    Some(StoredRows {
        name: stacked(layers),
        shape: vec![i64::from(experts.num_experts), rows_of_expert, columns],
        first_row: expert * rows_of_expert + first,
    })
}
