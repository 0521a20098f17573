//! A whole method plugin, to copy: `absmax`.
//!
//! It rounds every row of every linear layer to whole multiples of one scale, at 8, 6, 4 and 3
//! bits:
//!
//! ```text
//! scale = max |w| / (2^(bits − 1) − 1)        w' = round(w / scale) · scale
//! ```
//!
//! A spec uses it like this:
//!
//! ```yaml
//! methods: [{plugin: absmax, options: {bits: [8, 6, 4, 3]}}]
//! target: {bits_per_weight: 5.0}
//! ```

use evopress_plugin::{
    CompressTask, Edit, Encoding, GroupBudget, Info, LayerTask, Level, Method, ModelOutline,
    OwnedTensor, PackedWeight, PluginError, Unit, Variant, export_plugin, half::f16, pack_codes,
};
use serde::Deserialize;

// Makes the library a plugin. A fitness says `fitness:` in place of `method:`.
export_plugin! { method: create, info: info }

fn info() -> Info {
    Info {
        // What specs call it; lower-case letters, digits and hyphens.
        name: "absmax".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "Rounds each row of a layer to multiples of one scale.".to_owned(),
        // evopressd checks the options of a spec against this before it calls `create`, and reports all mistakes at once.
        options_schema: r#"{
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "bits": {
                    "description": "Bit widths, in falling order.",
                    "type": "array",
                    "minItems": 2,
                    "uniqueItems": true,
                    "items": {"type": "integer", "minimum": 2, "maximum": 8},
                    "default": [8, 6, 4, 3]
                }
            }
        }"#
        .to_owned(),
    }
}

/// The method is its options: it keeps nothing between calls.
#[derive(Deserialize)]
#[serde(default)]
struct AbsMax {
    bits: Vec<u8>,
}

impl Default for AbsMax {
    fn default() -> Self {
        Self {
            bits: vec![8, 6, 4, 3],
        }
    }
}

/// Options come as JSON text. An error's message ends up before the user, so it is a sentence that
/// helps.
fn create(options: &str) -> Result<AbsMax, PluginError> {
    let method: AbsMax =
        serde_json::from_str(options).map_err(|error| PluginError::new(error.to_string()))?;
    // What the schema cannot say is checked here.
    if method.bits.windows(2).any(|pair| pair[0] <= pair[1]) {
        return Err(format!("`bits`: {:?} is not in falling order", method.bits).into());
    }
    Ok(method)
}

impl Method for AbsMax {
    /// Every linear layer is a unit, with one level for each bit width. A level costs its bits.
    fn units(&self, model: &ModelOutline, _target: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        let layers = model.layers.iter().zip(0..);
        let units = layers.map(|(layer, layer_idx)| {
            let level = |bits: u8| Level {
                name: format!("{bits}bit"),
                cost: u64::from(bits) * layer.num_weights(),
                // What the level does to the dense model: it replaces the layer's weight.
                edits: vec![Edit::Replace {
                    layer_idx,
                    variant: Variant {
                        name: format!("{bits}bit"),
                        encoding: encoding(bits, layer.in_features),
                    },
                }],
            };
            Unit {
                name: layer.name.clone(),
                // Empty: the pipeline's `search.grouping` decides between which units budget moves.
                group: String::new(),
                block_idx: layer.block_idx,
                layer_idxs: vec![layer_idx],
                levels: self.bits.iter().map(|bits| level(*bits)).collect(),
                // Later blocks are calibrated behind this level: here the middle one.
                calibration_level: self.bits.len() as u32 / 2,
            }
        });
        Ok(units.collect())
    }

    /// The word in a spec's `target`. Methods of one measure are interchangeable there.
    fn measure(&self) -> &str {
        "bits_per_weight"
    }

    /// The cost that each group of units may have. The host has formed the groups by now.
    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        let [most, .., least] = self.bits[..] else {
            return Err("there is only one bit width".into());
        };
        if !(f64::from(least) <= target && target < f64::from(most)) {
            let range = format!("from {least} to below {most}");
            return Err(format!("{target} bits per weight: allowed are {range}").into());
        }
        let mut budgets: Vec<GroupBudget> = Vec::new();
        for unit in units {
            let layers = unit.layer_idxs.iter();
            let num_weights: u64 = layers
                .map(|layer_idx| model.layers[*layer_idx as usize].num_weights())
                .sum();
            match budgets.iter_mut().find(|it| it.group == unit.group) {
                Some(budget) => budget.max_cost += num_weights,
                None => budgets.push(GroupBudget {
                    group: unit.group.clone(),
                    max_cost: num_weights,
                }),
            }
        }
        for budget in &mut budgets {
            budget.max_cost = (budget.max_cost as f64 * target) as u64;
        }
        Ok(budgets)
    }

    /// Called block by block, with the layers that read the same activations. `statistics` (not
    /// overridden here) would ask for the second moments or the norms of these activations.
    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        task.layers.iter().map(compress_layer).collect()
    }
}

/// One grid for each row: a group is as long as the row.
fn encoding(bits: u8, in_features: u64) -> Encoding {
    Encoding::Quantized {
        bits,
        group_size: in_features as u32,
        symmetric: true,
    }
}

/// All variants of one layer.
fn compress_layer(layer: &LayerTask<'_>) -> Result<Vec<PackedWeight>, PluginError> {
    let (rows, columns) = layer.weight.matrix_shape()?;
    let weights = layer.weight.to_f32_vec()?;
    if !weights.iter().all(|weight| weight.is_finite()) {
        return Err(format!("layer `{}`: a weight is not finite", layer.name).into());
    }
    let variants = layer.variants.iter().map(|variant| match variant.encoding {
        Encoding::Quantized { bits, .. } if variant.encoding == encoding(bits, columns as u64) => {
            round(&weights, bits, rows, columns)
        }
        _ => Err(format!(
            "layer `{}`: variant `{}` is not one of absmax",
            layer.name, variant.name
        )
        .into()),
    });
    variants.collect()
}

fn round(
    weights: &[f32],
    bits: u8,
    rows: usize,
    columns: usize,
) -> Result<PackedWeight, PluginError> {
    let most = ((1 << (bits - 1)) - 1) as f32;
    let mut codes = Vec::with_capacity(weights.len());
    let mut scales = Vec::with_capacity(rows);
    for row in weights.chunks(columns) {
        let largest = row
            .iter()
            .fold(0_f32, |largest, weight| largest.max(weight.abs()));
        // Scales are stored as f16: the codes are made for the scale that is stored.
        let scale = f16::from_f32(largest / most);
        let step = scale.to_f32().max(f32::MIN_POSITIVE);
        // A symmetric grid stores codes from 0, with its zero in the middle.
        let code = |weight: &f32| ((weight / step).round().clamp(-most, most) + most + 1.0) as u8;
        codes.extend(row.iter().map(code));
        scales.push(scale);
    }
    let packed = pack_codes(&codes, bits, columns);
    let row_bytes = packed.len() / rows;
    // The parts that `Encoding::parts` lists, in their order.
    Ok(PackedWeight {
        parts: vec![
            OwnedTensor::from_vec(packed, &[rows as i64, row_bytes as i64])?,
            OwnedTensor::from_vec(scales, &[rows as i64, 1])?,
        ],
    })
}
