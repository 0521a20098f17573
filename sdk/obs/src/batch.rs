//! The rows of many layers and variants, side by side.

use std::ops::Range;

use evopress_plugin::{CompressTask, LayerTask, PackedWeight, PluginError};
use evopress_plugin_tch::{to_plugin_error, with_tensor};
use tch::{Kind, TchError, Tensor};

use crate::Factor;

/// Weights in a batch at most, unless a single layer has more: 256 MB of f32.
const MAX_WEIGHTS: usize = 1 << 26;

/// A layer and one of its variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Which layer of the task.
    pub layer_idx: usize,
    /// Which of the layer's variants.
    pub variant_idx: usize,
    /// Its rows in the batch.
    pub rows: Range<usize>,
}

/// Layers and variants that are swept together.
#[derive(Debug)]
pub struct Batch {
    /// Which, in order of their rows.
    pub pairs: Vec<Pair>,
    /// `[K, R]` f32: the rows of all pairs, transposed, so that a column of the weights lies in one
    /// piece; columns in the factor's order.
    pub weights: Tensor,
}

/// Calls `each` with one batch after another until every layer and variant of the task has had its
/// turn. Pairs share a batch only if `key` says the same of them.
///
/// # Errors
/// When a weight does not fit the factor or is not finite, the sentence naming the layer; or what
/// `each` returns.
pub fn batches<K: PartialEq>(
    task: &CompressTask<'_>,
    factor: &Factor,
    key: impl Fn(usize, usize) -> K,
    mut each: impl FnMut(Batch, K) -> Result<(), PluginError>,
) -> Result<(), PluginError> {
    let num_columns = factor.num_columns();
    for layer in &task.layers {
        check(layer, num_columns)?;
    }
    let num_rows = |layer_idx: usize| task.layers[layer_idx].weight.shape()[0] as usize;
    let mut left: Vec<(usize, usize)> = (task.layers.iter().enumerate())
        .flat_map(|(layer_idx, layer)| (0..layer.variants.len()).map(move |idx| (layer_idx, idx)))
        .collect();
    while let Some(&(layer_idx, variant_idx)) = left.first() {
        let first = key(layer_idx, variant_idx);
        let mut pairs: Vec<Pair> = Vec::new();
        left.retain(|&(layer_idx, variant_idx)| {
            let start = pairs.last().map_or(0, |pair| pair.rows.end);
            let rows = start..start + num_rows(layer_idx);
            let fits = start == 0 || rows.end * num_columns <= MAX_WEIGHTS;
            let takes = fits && key(layer_idx, variant_idx) == first;
            if takes {
                pairs.push(Pair {
                    layer_idx,
                    variant_idx,
                    rows,
                });
            }
            !takes
        });
        let weights = gather(task, factor, &pairs).map_err(|error| to_plugin_error(&error))?;
        each(Batch { pairs, weights }, first)?;
    }
    Ok(())
}

/// The packed weights of all layers and variants of the task, by layer and variant. `each` packs
/// the pairs of a batch, in their order.
///
/// # Errors
/// As [`batches`].
pub fn pack_batches<K: PartialEq>(
    task: &CompressTask<'_>,
    factor: &Factor,
    key: impl Fn(usize, usize) -> K,
    mut each: impl FnMut(&Batch, K) -> Result<Vec<PackedWeight>, PluginError>,
) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
    let nothing = |layer: &LayerTask<'_>| layer.variants.iter().map(|_| None).collect();
    let mut packed: Vec<Vec<Option<PackedWeight>>> = task.layers.iter().map(nothing).collect();
    batches(task, factor, key, |batch, key| {
        let of_pairs = each(&batch, key)?;
        for (pair, of_pair) in batch.pairs.iter().zip(of_pairs) {
            packed[pair.layer_idx][pair.variant_idx] = Some(of_pair);
        }
        Ok(())
    })?;
    let all = |of_layer: Vec<Option<PackedWeight>>| of_layer.into_iter().flatten().collect();
    Ok(packed.into_iter().map(all).collect())
}

fn check(layer: &LayerTask<'_>, num_columns: usize) -> Result<(), PluginError> {
    let fail = |what: String| PluginError::new(format!("layer `{}`: {what}", layer.name));
    let (rows, columns) = layer
        .weight
        .matrix_shape()
        .map_err(|error| fail(error.to_string()))?;
    if columns != num_columns || rows == 0 {
        return Err(fail(format!(
            "a weight of {rows} × {columns}, but the second moment is of {num_columns} inputs"
        )));
    }
    let sum = with_tensor(&layer.weight, |weight| {
        weight
            .f_sum(Kind::Double)
            .and_then(|sum| sum.f_double_value(&[]))
    });
    if !sum?
        .map_err(|error| fail(to_plugin_error(&error).message))?
        .is_finite()
    {
        return Err(fail("a weight is not finite".to_owned()));
    }
    Ok(())
}

fn gather(task: &CompressTask<'_>, factor: &Factor, pairs: &[Pair]) -> Result<Tensor, TchError> {
    let num_rows = pairs.last().map_or(0, |pair| pair.rows.end);
    let device = factor.spread.device();
    let shape = [factor.num_columns() as i64, num_rows as i64];
    let weights = Tensor::f_empty(shape, (Kind::Float, device))?;
    let mut transposed: Option<(usize, Tensor)> = None;
    for pair in pairs {
        let is_there = matches!(&transposed, Some((layer_idx, _)) if *layer_idx == pair.layer_idx);
        if !is_there {
            let by_column = with_tensor(&task.layers[pair.layer_idx].weight, |weight| {
                weight.f_to_kind(Kind::Float)?.f_t_copy()
            });
            let by_column = by_column.map_err(|error| TchError::Torch(error.message))??;
            transposed = Some((pair.layer_idx, factor.in_order(&by_column)?));
        }
        if let Some((_, by_place)) = &transposed {
            let rows = &pair.rows;
            weights
                .f_narrow(1, rows.start as i64, rows.len() as i64)?
                .f_copy_(by_place)?;
        }
    }
    Ok(weights)
}
