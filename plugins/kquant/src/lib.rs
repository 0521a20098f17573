//! The method `kquant`: every linear layer in one of llama.cpp's own formats, block for block as a GGUF file has them.
//!
//! In go a layer's weight and the root mean square of each input feature, out come rows of ggml's blocks whose scales, minima and codes have
//! the least squared error weighted by the inputs' mean squares. README.md has the options and formulas.

mod blocks;
mod fit;
mod options;
mod super_blocks;
#[cfg(test)]
mod tests;

use evopress_layerwise::{bits_budget, finite_weights, layer_names, options_schema, parse_options};
use evopress_plugin::{
    CompressTask, Encoding, GgmlType, GroupBudget, Info, LayerTask, Method, ModelOutline,
    OwnedTensor, PackedWeight, PluginError, Statistics, Unit, Variant, export_plugin,
};

use options::{Importance, Options};

export_plugin! { method: create, info: info }

fn info() -> Info {
    Info {
        name: "kquant".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description:
            "Quantization to llama.cpp's own formats (Q2_K to Q6_K, Q4_0 to Q8_0), each layer in one of several."
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
        match self.options.importance {
            Importance::InputNorms => Statistics::InputNorms,
            Importance::None => Statistics::None,
        }
    }

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let norms = match self.options.importance {
            Importance::InputNorms => Some(norms(task)?),
            Importance::None => None,
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
    let (weights, rows, columns) = finite_weights(layer)?;
    if let Some(norms) = norms.filter(|norms| norms.len() != columns) {
        return Err(format!(
            "layer `{}` has {columns} input features, but there are {} input norms",
            layer.name,
            norms.len()
        )
        .into());
    }
    let importance = importance(norms, columns);
    let variants = layer.variants.iter().map(|variant| {
        let ggml_type = ggml_type(variant, columns)
            .map_err(|error| PluginError::new(format!("layer `{}`: {error}", layer.name)))?;
        let row_bytes = ggml_type.size_bytes(columns as u64) as usize;
        let mut packed = Vec::with_capacity(rows * row_bytes);
        let block_len = ggml_type.block_len();
        for row in weights.chunks(columns) {
            let blocks = row.chunks(block_len).zip(importance.chunks(block_len));
            for (weights, importance) in blocks {
                block(ggml_type, weights, importance, &mut packed);
            }
        }
        let blocks = OwnedTensor::from_vec(packed, &[rows as i64, row_bytes as i64])?;
        Ok(PackedWeight {
            parts: vec![blocks],
        })
    });
    variants.collect()
}

/// What an error of a weight costs, by its column: the mean square of the input. A feature that was always zero keeps a trace of importance,
/// so that its weights stay near what they were.
fn importance(norms: Option<&[f32]>, columns: usize) -> Vec<f32> {
    const TRACE: f32 = 1e-4;
    let Some(norms) = norms else {
        return vec![1.0; columns];
    };
    let greatest = norms.iter().copied().fold(0.0, f32::max);
    if greatest == 0.0 {
        return vec![1.0; columns];
    }
    // In units of the greatest, so that no square is out of range.
    let squares = || {
        norms
            .iter()
            .map(|norm| (norm / greatest) * (norm / greatest))
    };
    let mean = squares().sum::<f32>() / columns as f32;
    squares().map(|square| square + TRACE * mean).collect()
}

/// The bytes of one block, appended to `packed`.
fn block(ggml_type: GgmlType, weights: &[f32], importance: &[f32], packed: &mut Vec<u8>) {
    match ggml_type {
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => {
            blocks::symmetric(ggml_type, weights, importance, packed);
        }
        GgmlType::Q4_1 | GgmlType::Q5_1 => {
            blocks::affine(ggml_type, weights, importance, packed);
        }
        GgmlType::Q3K | GgmlType::Q6K => {
            super_blocks::symmetric(ggml_type, weights, importance, packed);
        }
        _ => super_blocks::affine(ggml_type, weights, importance, packed),
    }
}

/// The type of a variant that this method makes.
fn ggml_type(variant: &Variant, columns: usize) -> Result<GgmlType, PluginError> {
    match variant.encoding {
        Encoding::Ggml { ggml_type }
            if ggml_type.is_quantized() && columns.is_multiple_of(ggml_type.block_len()) =>
        {
            Ok(ggml_type)
        }
        ref other => Err(format!(
            "variant `{}` is to be packed as {other:?}, but this method makes ggml's blocks that divide {columns} columns",
            variant.name
        )
        .into()),
    }
}
