//! Layers whose weights are rounded each for itself, without error feedback.

use evopress_layerwise::{finite_weights, layer_names};
use evopress_plugin::{CompressTask, LayerTask, OwnedTensor, PackedWeight, PluginError};
use evopress_plugin_tch::{to_plugin_error, view, with_tensor};

use crate::format::{Format, ggml_type_in};
use crate::importance::importance;
use crate::layout;
use crate::options::Importance;
use crate::rows::fit_row;

/// All variants of all layers.
pub(crate) fn compress(
    task: &CompressTask<'_>,
    weighting: Importance,
) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
    let norms = match weighting {
        Importance::None => None,
        _ => Some(norms(task)?),
    };
    let layers = task.layers.iter().map(|layer| quantize(layer, norms));
    layers.collect()
}

/// The root mean square of each input feature.
fn norms<'a>(task: &CompressTask<'a>) -> Result<&'a [f32], PluginError> {
    let names = || layer_names(task);
    let norms = task
        .input_norms
        .ok_or_else(|| format!("{}: there are no input norms", names()))?;
    if !norms.iter().all(|norm| norm.is_finite() && *norm >= 0.0) {
        return Err(format!("{}: an input norm is negative or not finite", names()).into());
    }
    Ok(norms)
}

/// All variants of a layer.
fn quantize(
    layer: &LayerTask<'_>,
    norms: Option<&[f32]>,
) -> Result<Vec<PackedWeight>, PluginError> {
    let of_layer =
        |error: PluginError| PluginError::new(format!("layer `{}`: {}", layer.name, error.message));
    let on_cpu = with_tensor(&layer.weight, |weight| {
        let weight = weight
            .f_to_device(tch::Device::Cpu)
            .map_err(|error| of_layer(to_plugin_error(&error)))?;
        finite_weights(&LayerTask {
            weight: view(&weight)?,
            ..*layer
        })
    });
    let (weights, rows, columns) = on_cpu.map_err(of_layer)??;
    if let Some(norms) = norms.filter(|norms| norms.len() != columns) {
        return Err(format!(
            "layer `{}` has {columns} input features, but there are {} input norms",
            layer.name,
            norms.len()
        )
        .into());
    }
    let importance = match norms {
        Some(norms) => importance(norms.iter().map(|norm| f64::from(*norm).powi(2))),
        None => vec![1.0; columns],
    };
    let variants = layer.variants.iter().map(|variant| {
        let format = Format::of(ggml_type_in(layer, variant, columns)?);
        let row_bytes = format.ggml_type.size_bytes(columns as u64) as usize;
        let mut packed = Vec::with_capacity(rows * row_bytes);
        for row in weights.chunks(columns) {
            let grids = fit_row(&format, row, &importance);
            layout::push_row(&format, &grids, row, &mut packed);
        }
        let blocks = OwnedTensor::from_vec(packed, &[rows as i64, row_bytes as i64])?;
        Ok(PackedWeight {
            parts: vec![blocks],
        })
    });
    variants.collect()
}
