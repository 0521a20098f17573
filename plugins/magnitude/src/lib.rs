//! The method `magnitude`: every linear layer without its smallest weights, at several sparsities.
//!
//! In goes a layer's weight alone, out come masks and what is kept. README.md has the options and
//! formulas.

use evopress_layerwise::{SparsityOptions, options_schema, parse_options, prune, sparsity_budget};
use evopress_plugin::{
    CompressTask, GroupBudget, Info, Method, ModelOutline, PackedWeight, PluginError, Unit,
    export_plugin,
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
        name: "magnitude".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "Pruning of the smallest weights of each layer, at one of several sparsities."
            .to_owned(),
        options_schema: options_schema(SparsityOptions::schema()),
    }
}

fn create(options: &str) -> Result<Magnitude, PluginError> {
    let options: Options = parse_options(options)?;
    let levels = SparsityOptions {
        sparsities: options.sparsities,
        patterns: options.patterns,
        around: options.around,
        step_weights: options.step_weights,
        num_steps: options.num_steps,
    };
    Ok(Magnitude {
        levels: levels.checked()?,
    })
}

/// Pruning by magnitude.
struct Magnitude {
    levels: SparsityOptions,
}

impl Method for Magnitude {
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

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let layers = task.layers.iter();
        layers
            .map(|layer| prune(layer, false, |weight, _| weight.abs()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use evopress_plugin::{DType, Encoding, LayerTask, TensorView, Variant};

    use super::*;

    fn masks(variant: Variant) -> Result<Vec<u8>, PluginError> {
        let weights = [-1.0, 0.5, 0.6, 2.0, 0.1, 0.2, 9.0, 3.0];
        let weight = TensorView::from_slice(&weights, &[2, 4]).unwrap();
        let variants = [variant];
        let layers = vec![LayerTask {
            name: "l",
            weight,
            variants: &variants,
        }];
        let task = CompressTask {
            num_tokens: 0,
            input_norms: None,
            hessian: None,
            layers,
        };
        let packed = create("{}").unwrap().compress(&task)?.remove(0).remove(0);
        Ok(packed.parts[0].view().as_slice::<u8>()?.to_vec())
    }

    fn variant(name: &str, num_values: u64) -> Variant {
        let encoding = Encoding::Sparse {
            num_values,
            dtype: DType::Bf16,
        };
        Variant {
            name: name.to_owned(),
            encoding,
        }
    }

    #[test]
    fn the_smallest_go() {
        assert_eq!(masks(variant("0.3750", 5)).unwrap(), [0b1101, 0b1100]);
        assert_eq!(masks(variant("0.0000", 8)).unwrap(), [0b1111, 0b1111]);
        assert_eq!(masks(variant("2of4", 4)).unwrap(), [0b1001, 0b1100]);
    }

    #[test]
    fn what_cannot_be_compressed_is_refused() {
        let refuse = |variant| masks(variant).unwrap_err().message;
        insta::assert_snapshot!(
            refuse(variant("2of4", 5)),
            @"layer `l`: variant `2of4` is to keep 5 of 2 × 4 weights, which is another pattern"
        );
        insta::assert_snapshot!(refuse(variant("0.5", 9)), @"layer `l`: 9 values of 8 weights");
        let encoding = Encoding::Quantized {
            bits: 4,
            group_size: 4,
            symmetric: true,
        };
        insta::assert_snapshot!(
            refuse(Variant { name: "4bit".to_owned(), encoding }),
            @"layer `l`: variant `4bit` is to be packed as Quantized { bits: 4, group_size: 4, symmetric: true }, but this method prunes"
        );
    }
}
