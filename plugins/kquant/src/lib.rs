//! The method `kquant`: every linear layer in one of llama.cpp's own formats, block for block as a GGUF file has them.
//!
//! In go a layer's weight and statistics of its inputs, out come rows of ggml's blocks. Scales, minima and codes have the least squared error
//! weighted by what an error of each column costs; with error feedback later columns take over the errors of earlier ones as in GPTQ.
//! README.md has the options and formulas.

mod blocks;
mod feedback;
mod fit;
mod grid;
mod layout;
mod options;
mod super_blocks;
#[cfg(test)]
mod tests;

use evopress_layerwise::{bits_budget, finite_weights, layer_names, options_schema, parse_options};
use evopress_plugin::{
    CompressTask, Encoding, GgmlType, GroupBudget, Info, LayerTask, Method, ModelOutline,
    OwnedTensor, PackedWeight, PluginError, Statistics, Unit, Variant, export_plugin,
};
use evopress_plugin_tch::{borrow, to_plugin_error, view};

use grid::Format;
use options::{Importance, Options};

export_plugin! { method: create, info: info }

fn info() -> Info {
    Info {
        name: "kquant".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description:
            "Quantization to llama.cpp's own formats (Q2_K to Q6_K, Q4_0 to Q8_0, IQ4), each layer in one of several."
                .to_owned(),
        options_schema: options_schema(Options::schema()),
    }
}

fn create(options: &str) -> Result<KQuant, PluginError> {
    let options: Options = parse_options(options)?;
    Ok(KQuant {
        options: options.checked()?,
    })
}

/// Quantization to ggml's blocks.
struct KQuant {
    options: Options,
}

impl Method for KQuant {
    fn units(&self, model: &ModelOutline, _target: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        self.options.units(model)
    }

    fn measure(&self) -> &str {
        "bits_per_weight"
    }

    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        bits_budget(model, units, target)
    }

    fn statistics(&self) -> Statistics {
        match self.options.importance() {
            _ if self.options.error_feedback => Statistics::Hessian,
            Importance::None => Statistics::None,
            _ => Statistics::InputNorms,
        }
    }

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let importance = self.options.importance();
        if self.options.error_feedback {
            let damping = self.options.damping;
            return tch::no_grad(|| feedback::compress(task, damping, importance));
        }
        let norms = match importance {
            Importance::None => None,
            _ => Some(norms(task)?),
        };
        let layers = task.layers.iter().map(|layer| quantize(layer, norms));
        layers.collect()
    }
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
    let weight = borrow(&layer.weight).map_err(of_layer)?;
    let weight = weight
        .f_to_device(tch::Device::Cpu)
        .map_err(|error| of_layer(to_plugin_error(&error)))?;
    let (weights, rows, columns) = finite_weights(&LayerTask {
        weight: view(&weight)?,
        ..*layer
    })?;
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
            let grids = format.fit_row(row, &importance);
            layout::push_row(&format, &grids, row, &mut packed);
        }
        let blocks = OwnedTensor::from_vec(packed, &[rows as i64, row_bytes as i64])?;
        Ok(PackedWeight {
            parts: vec![blocks],
        })
    });
    variants.collect()
}

/// What an error of a weight costs, by its column, from the mean square of each input. A feature that was always zero keeps a trace of
/// importance, so that its weights stay near what they were.
fn importance(squares: impl Iterator<Item = f64> + Clone) -> Vec<f32> {
    const TRACE: f32 = 1e-4;
    // In units of the greatest, so that no sum is out of range.
    let greatest = squares.clone().fold(0.0, f64::max);
    let unit = if greatest > 0.0 { greatest } else { 1.0 };
    let shares: Vec<f32> = squares.map(|square| (square / unit) as f32).collect();
    let trace = match greatest > 0.0 {
        true => TRACE * shares.iter().sum::<f32>() / shares.len() as f32,
        false => 1.0,
    };
    shares.iter().map(|share| share + trace).collect()
}

/// The type of a variant of a layer that this method makes.
fn ggml_type_in(
    layer: &LayerTask<'_>,
    variant: &Variant,
    columns: usize,
) -> Result<GgmlType, PluginError> {
    match variant.encoding {
        Encoding::Ggml { ggml_type }
            if ggml_type.is_quantized() && columns.is_multiple_of(ggml_type.block_len()) =>
        {
            Ok(ggml_type)
        }
        ref other => Err(format!(
            "layer `{}`: variant `{}` is to be packed as {other:?}, but this method makes ggml's blocks that divide {columns} columns",
            layer.name, variant.name
        )
        .into()),
    }
}
