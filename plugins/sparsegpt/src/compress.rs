//! A task from weights to packed parts.

use evopress_layerwise::{Removal, layer_names, pack_sparse_f32};
use evopress_obs::{Batch, Factor, Order, Path, pack_batches, sweep};
use evopress_plugin::{
    CompressTask, DType, Encoding, LayerTask, PackedWeight, PluginError, Variant,
};
use evopress_plugin_tch::to_plugin_error;
use tch::{Device, TchError, Tensor};

use crate::removing::{Key, Removing};

pub(crate) fn compress(
    task: &CompressTask<'_>,
    damping: f64,
    block_size: usize,
) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
    let names = layer_names(task);
    let hessian = task
        .hessian
        .as_ref()
        .ok_or_else(|| format!("{names}: there is no second moment of the inputs"))?;
    let factor = Factor::new(hessian, damping, Order::Natural, &names)?;
    let mut plans: Vec<Vec<(Removal, Key)>> = Vec::new();
    for layer in &task.layers {
        let plan = |variant| plan(layer, variant, block_size);
        plans.push(layer.variants.iter().map(plan).collect::<Result<_, _>>()?);
    }
    pack_batches(
        task,
        &factor,
        |layer_idx, variant_idx| plans[layer_idx][variant_idx].1,
        |batch, key| {
            let pairs = batch.pairs.iter();
            let removals = pairs.map(|pair| plans[pair.layer_idx][pair.variant_idx].0);
            let removals: Vec<Removal> = removals.collect();
            remove(
                Path::on(batch.weights.device()),
                batch,
                &factor,
                key,
                &removals,
            )
        },
    )
}

fn plan(
    layer: &LayerTask<'_>,
    variant: &Variant,
    block_size: usize,
) -> Result<(Removal, Key), PluginError> {
    let (rows, columns) = layer.weight.matrix_shape()?;
    let removal = Removal::of(variant, rows, columns)
        .map_err(|error| PluginError::new(format!("layer `{}`: {error}", layer.name)))?;
    let dtype = match variant.encoding {
        Encoding::Sparse { dtype, .. } => dtype,
        _ => DType::F32,
    };
    let (width, by_row) = match removal {
        Removal::Count(_) => (block_size.min(columns), false),
        Removal::Pattern(pattern) => (pattern.of, true),
    };
    Ok((
        removal,
        Key {
            width,
            by_row,
            dtype,
        },
    ))
}

pub(crate) fn remove(
    path: Path,
    batch: &Batch,
    factor: &Factor,
    key: Key,
    removals: &[Removal],
) -> Result<Vec<PackedWeight>, PluginError> {
    let torch = |error: TchError| to_plugin_error(&error);
    let mut removing = Removing::new(path, batch, factor, key, removals).map_err(torch)?;
    sweep(path, &batch.weights, factor, &mut removing)?;
    let kept_kr = removing.kept().map_err(torch)?;
    let num_columns = factor.num_columns();
    let of_pairs = batch.pairs.iter().zip(removals).map(|(pair, removal)| {
        let rows = |tensor: &Tensor| {
            let rows = tensor.f_narrow(1, pair.rows.start as i64, pair.rows.len() as i64)?;
            rows.f_t_copy()?
                .f_contiguous()?
                .f_to_device(Device::Cpu)?
                .f_flatten(0, -1)
        };
        let weights: Vec<f32> = rows(&batch.weights)
            .and_then(Vec::try_from)
            .map_err(torch)?;
        let is_kept: Vec<bool> = rows(&kept_kr).and_then(Vec::try_from).map_err(torch)?;
        let num_weights = weights.len() as u64;
        let num_values = match removal {
            Removal::Count(count) => num_weights - count,
            Removal::Pattern(pattern) => {
                num_weights / pattern.of as u64 * (pattern.of - pattern.zeros) as u64
            }
        };
        pack_sparse_f32(&weights, &is_kept, num_columns, num_values, key.dtype)
    });
    of_pairs.collect()
}
