//! The method `gptq`: every linear layer quantized column by column, later columns taking over the
//! errors of earlier ones, at several bit widths.
//!
//! In go a layer's weight and the second moment of its inputs, out come codes, scales and zeros.
//! One factor of the second moment and one sweep serve all layers that share inputs and all their
//! bit widths. README.md has the options, formulas and sources.

mod compress;
mod rounding;
#[cfg(test)]
mod tests;

use evopress_layerwise::{GroupSize, WidthOptions, bits_budget, options_schema, parse_options};
use evopress_plugin::{
    CompressTask, GroupBudget, Info, Method, ModelOutline, PackedWeight, PluginError, Statistics,
    Unit, export_plugin,
};
use serde::Deserialize;
use serde_json::json;

export_plugin! { method: create, info: info }

/// The plugin's options.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    bits: Vec<u8>,
    group_size: GroupSize,
    symmetric: bool,
    activation_order: bool,
    damping: f64,
    calibration_bits: Option<u8>,
}

impl Default for Options {
    fn default() -> Self {
        let WidthOptions {
            bits,
            group_size,
            symmetric,
            calibration_bits,
        } = WidthOptions::default();
        Options {
            bits,
            group_size,
            symmetric,
            activation_order: false,
            damping: 0.01,
            calibration_bits,
        }
    }
}

fn info() -> Info {
    let own = [
        (
            "activation_order",
            json!({
                "description": "Whether columns with the largest inputs come first. Grids are then fitted to the weights as they were.",
                "type": "boolean", "default": false
            }),
        ),
        (
            "damping",
            json!({
                "description": "What is added to the second moment's diagonal, as a share of its mean.",
                "type": "number", "minimum": 0, "maximum": 1, "default": 0.01
            }),
        ),
    ];
    Info {
        name: "gptq".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description:
            "Quantization with error compensation (GPTQ), each layer at one of several bit widths."
                .to_owned(),
        options_schema: options_schema(WidthOptions::schema().into_iter().chain(own)),
    }
}

fn create(options: &str) -> Result<Gptq, PluginError> {
    let options: Options = parse_options(options)?;
    if !(0.0..=1.0).contains(&options.damping) {
        let found = options.damping;
        return Err(format!("`damping`: found {found}; allowed are values from 0 to 1").into());
    }
    let widths = WidthOptions {
        bits: options.bits,
        group_size: options.group_size,
        symmetric: options.symmetric,
        calibration_bits: options.calibration_bits,
    };
    Ok(Gptq {
        widths: widths.checked()?,
        activation_order: options.activation_order,
        damping: options.damping,
    })
}

/// GPTQ.
struct Gptq {
    widths: WidthOptions,
    activation_order: bool,
    damping: f64,
}

impl Method for Gptq {
    fn units(&self, model: &ModelOutline, _target: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        self.widths.units(model)
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
        Statistics::Hessian
    }

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        tch::no_grad(|| compress::compress(task, self.damping, self.activation_order))
    }
}
