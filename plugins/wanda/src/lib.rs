//! The method `wanda`: every linear layer without the weights that matter least to its outputs row
//! by row, at several sparsities.
//!
//! In go a layer's weight and the root mean square of each input feature, out come masks and what
//! is kept. README.md has the options and formulas.

use evopress_layerwise::{
    SparsityOptions, layer_names, options_schema, parse_options, prune, sparsity_budget,
};
use evopress_plugin::{
    CompressTask, GroupBudget, Info, Method, ModelOutline, PackedWeight, PluginError, Statistics,
    Unit, export_plugin,
};
use serde::Deserialize;

export_plugin! { method: create, info: info }

/// The plugin's options.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    sparsities: Option<Vec<f64>>,
    patterns: Option<Vec<String>>,
    around: Option<f64>,
    step_weights: Option<u64>,
    num_steps: Option<u64>,
}

fn info() -> Info {
    Info {
        name: "wanda".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "Pruning by magnitude times input norm (Wanda), each layer at one of several sparsities.".to_owned(),
        options_schema: options_schema(SparsityOptions::schema()),
    }
}

fn create(options: &str) -> Result<Wanda, PluginError> {
    let options: Options = parse_options(options)?;
    let levels = SparsityOptions {
        sparsities: options.sparsities,
        patterns: options.patterns,
        around: options.around,
        step_weights: options.step_weights,
        num_steps: options.num_steps,
    };
    Ok(Wanda {
        levels: levels.checked()?,
    })
}

/// Pruning by magnitude times input norm.
struct Wanda {
    levels: SparsityOptions,
}

impl Method for Wanda {
    fn units(&self, model: &ModelOutline, target: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        self.levels.units(model, target)
    }

    fn measure(&self) -> &str {
        "sparsity"
    }

    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        sparsity_budget(model, units, target)
    }

    fn statistics(&self) -> Statistics {
        Statistics::InputNorms
    }

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let names = || layer_names(task);
        let norms = task
            .input_norms
            .ok_or_else(|| format!("{}: there are no input norms", names()))?;
        if !norms.iter().all(|norm| norm.is_finite() && *norm >= 0.0) {
            return Err(format!("{}: an input norm is negative or not finite", names()).into());
        }
        let layers = task.layers.iter().map(|layer| {
            let (_, columns) = layer.weight.matrix_shape()?;
            if columns != norms.len() {
                return Err(format!(
                    "layer `{}` has {columns} input features, but there are {} input norms",
                    layer.name,
                    norms.len()
                )
                .into());
            }
            prune(layer, true, |weight, column| weight.abs() * norms[column])
        });
        layers.collect()
    }
}

#[cfg(test)]
mod tests {
    use evopress_plugin::{DType, Encoding, LayerTask, TensorView, Variant};

    use super::*;

    fn masks(name: &str, num_values: u64, norms: Option<&[f32]>) -> Result<Vec<u8>, PluginError> {
        let weights = [-1.0, 0.5, 0.6, 2.0, 0.1, 0.2, 9.0, 3.0];
        let weight = TensorView::from_slice(&weights, &[2, 4]).unwrap();
        let encoding = Encoding::Sparse {
            num_values,
            dtype: DType::F32,
        };
        let variants = &[Variant {
            name: name.to_owned(),
            encoding,
        }];
        let layers = vec![LayerTask {
            name: "l",
            weight,
            variants,
        }];
        let task = CompressTask {
            num_tokens: 0,
            input_norms: norms,
            hessian: None,
            layers,
        };
        let packed = create("{}").unwrap().compress(&task)?.remove(0).remove(0);
        Ok(packed.parts[0].view().as_slice::<u8>()?.to_vec())
    }

    #[test]
    fn rows_lose_what_matters_least_to_them() {
        let norms: Option<&[f32]> = Some(&[1.0, 4.0, 0.1, 0.1]);
        // Scores 1, 2, 0.06, 0.2 and 0.1, 0.8, 0.9, 0.3.
        assert_eq!(masks("0.5000", 4, norms).unwrap(), [0b0011, 0b0110]);
        // Three of eight: one of the first row, two of the second.
        assert_eq!(masks("0.3750", 5, norms).unwrap(), [0b1011, 0b0110]);
        assert_eq!(masks("2of4", 4, norms).unwrap(), [0b0011, 0b0110]);
    }

    #[test]
    fn what_cannot_be_compressed_is_refused() {
        let refuse = |norms| masks("0.5000", 4, norms).unwrap_err().message;
        insta::assert_snapshot!(refuse(None), @"`l`: there are no input norms");
        insta::assert_snapshot!(refuse(Some(&[1.0, 1.0])), @"layer `l` has 4 input features, but there are 2 input norms");
        insta::assert_snapshot!(refuse(Some(&[1.0, 1.0, f32::NAN, 1.0])), @"`l`: an input norm is negative or not finite");
    }
}
