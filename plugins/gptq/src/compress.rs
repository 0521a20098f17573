//! A task from weights to packed parts.

use evopress_layerwise::{layer_names, pack_quantized, quantized};
use evopress_obs::{Batch, Factor, Order, Path, pack_batches, sweep};
use evopress_plugin::{CompressTask, PackedWeight, PluginError, half::f16};
use evopress_plugin_tch::to_plugin_error;
use tch::{Device, Kind, TchError, Tensor};

use crate::rounding::{Key, Rounding};

pub(crate) fn compress(
    task: &CompressTask<'_>,
    damping: f64,
    activation_order: bool,
) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
    let names = layer_names(task);
    let hessian = task
        .hessian
        .as_ref()
        .ok_or_else(|| format!("{names}: there is no second moment of the inputs"))?;
    let order = match activation_order {
        true => Order::FallingDiagonal,
        false => Order::Natural,
    };
    let factor = Factor::new(hessian, damping, order, &names)?;
    let mut bits: Vec<Vec<u8>> = Vec::new();
    let mut keys: Vec<Vec<Key>> = Vec::new();
    for layer in &task.layers {
        let of_variant = |variant| {
            let (bits, group_size, symmetric) = quantized(variant, factor.num_columns())?;
            Ok((
                bits,
                Key {
                    group_size,
                    symmetric,
                },
            ))
        };
        let variants: Result<Vec<_>, PluginError> = layer.variants.iter().map(of_variant).collect();
        let variants = variants
            .map_err(|error| PluginError::new(format!("layer `{}`: {error}", layer.name)))?;
        let (of_layer, keys_of_layer) = variants.into_iter().unzip();
        bits.push(of_layer);
        keys.push(keys_of_layer);
    }
    pack_batches(
        task,
        &factor,
        |layer_idx, variant_idx| keys[layer_idx][variant_idx],
        |batch, key| {
            let pairs = batch.pairs.iter();
            let bits: Vec<u8> = pairs
                .map(|pair| bits[pair.layer_idx][pair.variant_idx])
                .collect();
            quantize(Path::on(batch.weights.device()), batch, &factor, key, &bits)
        },
    )
}

pub(crate) fn quantize(
    path: Path,
    batch: &Batch,
    factor: &Factor,
    key: Key,
    bits: &[u8],
) -> Result<Vec<PackedWeight>, PluginError> {
    let torch = |error: TchError| to_plugin_error(&error);
    clear_dead(&batch.weights, factor).map_err(torch)?;
    let mut rounding = Rounding::new(path, batch, factor, key, bits).map_err(torch)?;
    sweep(path, &batch.weights, factor, &mut rounding)?;
    let codes_kr = rounding.codes(&batch.weights, factor).map_err(torch)?;
    let (scales_gr, zeros_gr) = rounding.grids().map_err(torch)?;
    let num_columns = factor.num_columns();
    let of_pairs = batch.pairs.iter().zip(bits).map(|(pair, &bits)| {
        let rows = |tensor: &Tensor, kind| -> Result<Tensor, TchError> {
            let rows = tensor.f_narrow(1, pair.rows.start as i64, pair.rows.len() as i64)?;
            rows.f_t_copy()?
                .f_to_kind(kind)?
                .f_contiguous()?
                .f_to_device(Device::Cpu)?
                .f_flatten(0, -1)
        };
        let bytes = |tensor: &Tensor| {
            rows(tensor, Kind::Uint8)
                .and_then(Vec::<u8>::try_from)
                .map_err(torch)
        };
        let scales: Vec<f32> = rows(&scales_gr, Kind::Float)
            .and_then(Vec::try_from)
            .map_err(torch)?;
        let scales = scales.into_iter().map(f16::from_f32).collect();
        let zeros = if key.symmetric {
            None
        } else {
            Some(bytes(&zeros_gr)?)
        };
        pack_quantized(
            &bytes(&codes_kr)?,
            scales,
            zeros.as_deref(),
            bits,
            (pair.rows.len(), num_columns),
        )
    });
    of_pairs.collect()
}

/// Weights of inputs that are always 0 count for nothing: they become 0 and leave the grids to the
/// others.
fn clear_dead(weights: &Tensor, factor: &Factor) -> Result<(), TchError> {
    for (place, _) in factor.is_dead.iter().enumerate().filter(|(_, dead)| **dead) {
        let _ = weights.f_get(place as i64)?.f_zero_()?;
    }
    Ok(())
}
