//! The method `rtn`: every linear layer rounded to the nearest values of its grids, at several bit
//! widths.
//!
//! In goes a layer's weight alone, out come codes, scales and zeros (see the crate
//! `evopress-layerwise` for the grid). README.md has the options.

use evopress_layerwise::{
    Grid, GroupSize, WidthOptions, bits_budget, finite_weights, options_schema, pack_quantized,
    parse_options, quantized,
};
use evopress_plugin::{
    CompressTask, GroupBudget, Info, LayerTask, Method, ModelOutline, PackedWeight, PluginError,
    Unit, export_plugin, half::f16,
};
use serde::Deserialize;

export_plugin! { method: create, info: info }

/// The plugin's options.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    bits: Vec<u8>,
    group_size: GroupSize,
    symmetric: bool,
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
            calibration_bits,
        }
    }
}

fn info() -> Info {
    Info {
        name: "rtn".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description:
            "Quantization by rounding to nearest, each layer at one of several bit widths."
                .to_owned(),
        options_schema: options_schema(WidthOptions::schema()),
    }
}

fn create(options: &str) -> Result<Rtn, PluginError> {
    let options: Options = parse_options(options)?;
    let widths = WidthOptions {
        bits: options.bits,
        group_size: options.group_size,
        symmetric: options.symmetric,
        calibration_bits: options.calibration_bits,
    };
    Ok(Rtn {
        widths: widths.checked()?,
    })
}

/// Rounding to nearest.
struct Rtn {
    widths: WidthOptions,
}

impl Method for Rtn {
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

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        task.layers.iter().map(round).collect()
    }
}

/// All variants of a layer.
fn round(layer: &LayerTask<'_>) -> Result<Vec<PackedWeight>, PluginError> {
    let (weights, rows, columns) = finite_weights(layer)?;
    let variants = layer.variants.iter().map(|variant| {
        let (bits, group_size, symmetric) = quantized(variant, columns)
            .map_err(|error| PluginError::new(format!("layer `{}`: {error}", layer.name)))?;
        let mut codes = Vec::with_capacity(weights.len());
        let num_groups = weights.len() / group_size;
        let (mut scales, mut zeros) = (
            Vec::with_capacity(num_groups),
            Vec::with_capacity(num_groups),
        );
        for group in weights.chunks(group_size) {
            let grid = Grid::fit(group, bits, symmetric);
            codes.extend(group.iter().map(|&weight| grid.code(weight, bits)));
            scales.push(f16::from_f32(grid.scale));
            zeros.push(grid.zero as u8);
        }
        pack_quantized(
            &codes,
            scales,
            (!symmetric).then_some(&zeros),
            bits,
            (rows, columns),
        )
    });
    variants.collect()
}

#[cfg(test)]
mod tests {
    use evopress_plugin::{Encoding, TensorView, Variant, conformance::decode};

    use super::*;

    fn variant(bits: u8, group_size: u32, symmetric: bool) -> Variant {
        Variant {
            name: format!("{bits}bit"),
            encoding: Encoding::Quantized {
                bits,
                group_size,
                symmetric,
            },
        }
    }

    fn compress(weights: &[f32], variants: &[Variant]) -> Result<Vec<PackedWeight>, PluginError> {
        let weight = TensorView::from_slice(weights, &[2, weights.len() as i64 / 2]).unwrap();
        let layers = vec![LayerTask {
            name: "l",
            weight,
            variants,
        }];
        let task = CompressTask {
            num_tokens: 0,
            input_norms: None,
            hessian: None,
            layers,
        };
        Ok(create("{}").unwrap().compress(&task)?.remove(0))
    }

    #[test]
    fn weights_become_the_nearest_values() {
        let weights = [-1.0, 0.4, 0.6, 2.0, 0.0, 0.0, 9.0, 3.1];
        let variants = [variant(2, 4, false), variant(2, 2, true)];
        let packed = compress(&weights, &variants).unwrap();
        let expected = [
            [-1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 9.0, 3.0],
            // Symmetric: scales 2/3, 4/3, 1 and 6, zero 2; the greatest value is one scale.
            [-1.333_008, 0.666_504, 0.0, 1.333_008, 0.0, 0.0, 6.0, 6.0],
        ];
        for ((packed, variant), expected) in packed.iter().zip(&variants).zip(&expected) {
            let found = decode(packed, &variant.encoding, 2, 4).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-3,
                    "{found} is not {expected}, {}",
                    variant.name
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_compressed_is_refused() {
        let refuse = |weights: &[f32], variant| compress(weights, &[variant]).unwrap_err().message;
        insta::assert_snapshot!(refuse(&[1.0, f32::NAN], variant(2, 1, false)), @"layer `l`: a weight is not finite");
        insta::assert_snapshot!(
            refuse(&[1.0; 8], variant(2, 3, false)),
            @"layer `l`: variant `2bit` is to be packed as Quantized { bits: 2, group_size: 3, symmetric: false }, but this method quantizes to 2 to 8 bits in groups that divide 4 columns"
        );
    }

    #[test]
    fn options_are_read() {
        let widths = |options| create(options).map(|rtn| rtn.widths);
        assert_eq!(widths("{}").unwrap().bits, [6, 5, 4, 3, 2]);
        let whole_rows = widths(r#"{"group_size": "row", "bits": [4, 8], "symmetric": true}"#);
        assert_eq!(whole_rows.unwrap().group_size, GroupSize::Row);
        insta::assert_snapshot!(
            widths(r#"{"group_size": "rows"}"#).unwrap_err(),
            @r#"`group_size`: found "rows"; allowed are whole numbers from 1 and "row" at line 1 column 22"#
        );
        insta::assert_snapshot!(
            widths(r#"{"bits": [4]}"#).unwrap_err(),
            @"`bits`: [4] leaves nothing to choose; at least two bit widths are needed"
        );
        insta::assert_snapshot!(
            widths(r#"{"damping": 1}"#).unwrap_err(),
            @"unknown field `damping`, expected one of `bits`, `group_size`, `symmetric`, `calibration_bits` at line 1 column 10"
        );
    }
}
