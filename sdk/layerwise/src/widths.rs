//! Levels of quantization: bit widths.

use evopress_plugin::{Encoding, LayerOutline, ModelOutline, PluginError, Unit, Variant};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

use crate::{
    some_of,
    units::{LayerLevel, layer_units},
};

/// Columns of a row that share a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSize {
    /// So many.
    Columns(u32),
    /// All of them.
    Row,
}

/// The bit widths of each layer, and their grids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WidthOptions {
    /// Distinct, each 2 to 8, at least two.
    pub bits: Vec<u8>,
    /// Columns of a row that share a grid.
    pub group_size: GroupSize,
    /// Whether grids are symmetric about zero.
    pub symmetric: bool,
    /// The width at which the calibration goes on; by default 3, or what is nearest to it.
    pub calibration_bits: Option<u8>,
}

impl Default for WidthOptions {
    fn default() -> Self {
        WidthOptions {
            bits: vec![2, 3, 4, 5, 6],
            group_size: GroupSize::Columns(128),
            symmetric: false,
            calibration_bits: None,
        }
    }
}

impl WidthOptions {
    /// JSON Schemas of the options by name.
    pub fn schema() -> [(&'static str, Value); 4] {
        [
            (
                "bits",
                json!({
                    "description": "Bit widths of a layer to choose from: at least two, each once.",
                    "type": "array", "items": {"type": "integer", "minimum": 2, "maximum": 8}, "default": [2, 3, 4, 5, 6]
                }),
            ),
            (
                "group_size",
                json!({
                    "description": "Columns of a row that share a scale and a zero; divides every layer's input features. \"row\": the whole row.",
                    "oneOf": [{"type": "integer", "minimum": 1}, {"const": "row"}], "default": 128
                }),
            ),
            (
                "symmetric",
                json!({"description": "Whether grids are symmetric about zero, so that no zeros are stored.", "type": "boolean", "default": false}),
            ),
            (
                "calibration_bits",
                json!({
                    "description": "The bit width at which the calibration of later blocks goes on; by default 3, or the nearest of `bits`.",
                    "type": "integer", "minimum": 2, "maximum": 8
                }),
            ),
        ]
    }

    /// These options, if they make sense together.
    ///
    /// # Errors
    /// What does not.
    pub fn checked(mut self) -> Result<Self, PluginError> {
        let (given, num_given) = (format!("{:?}", self.bits), self.bits.len());
        if let Some(bits) = self.bits.iter().find(|bits| !(2..=8).contains(*bits)) {
            return Err(format!("`bits`: found {bits}; allowed are 2 to 8").into());
        }
        self.bits.sort_unstable_by(|a, b| b.cmp(a));
        self.bits.dedup();
        if self.bits.len() < num_given {
            return Err(format!("`bits`: {given} names a bit width twice").into());
        }
        if self.bits.len() < 2 {
            return Err(format!(
                "`bits`: {given} leaves nothing to choose; at least two bit widths are needed"
            )
            .into());
        }
        if let Some(bits) = self
            .calibration_bits
            .filter(|bits| !self.bits.contains(bits))
        {
            return Err(format!("`calibration_bits`: {bits} is not one of `bits`, {given}").into());
        }
        if self.group_size == GroupSize::Columns(0) {
            return Err("`group_size`: found 0; the smallest allowed value is 1".into());
        }
        Ok(self)
    }

    /// A unit for each linear layer, its levels in falling bits (`4bit`, cost: bits × weights).
    ///
    /// # Errors
    /// When there are no layers, or the group size does not divide a layer's input features.
    pub fn units(&self, model: &ModelOutline) -> Result<Vec<Unit>, PluginError> {
        self.check_group_size(model)?;
        layer_units(model, |layer| {
            let levels = self.bits.iter().map(|&bits| LayerLevel {
                name: format!("{bits}bit"),
                cost: u64::from(bits) * layer.num_weights(),
                encoding: self.encoding(layer, bits),
            });
            Ok((levels.collect(), self.calibration_level()))
        })
    }

    fn encoding(&self, layer: &LayerOutline, bits: u8) -> Encoding {
        Encoding::Quantized {
            bits,
            group_size: match self.group_size {
                GroupSize::Columns(columns) => columns,
                GroupSize::Row => layer.in_features as u32,
            },
            symmetric: self.symmetric,
        }
    }

    /// Bits fall with the level, so that of two equally near ones the wider comes first.
    fn calibration_level(&self) -> usize {
        let sought = self.calibration_bits.unwrap_or(3);
        let levels = 0..self.bits.len();
        let nearest = levels.min_by_key(|&level| self.bits[level].abs_diff(sought));
        nearest.unwrap_or_default()
    }

    fn check_group_size(&self, model: &ModelOutline) -> Result<(), PluginError> {
        let GroupSize::Columns(group_size) = self.group_size else {
            return Ok(());
        };
        let is_odd =
            |layer: &&LayerOutline| !layer.in_features.is_multiple_of(u64::from(group_size));
        let odd: Vec<&LayerOutline> = model.layers.iter().filter(is_odd).collect();
        if odd.is_empty() {
            return Ok(());
        }
        let mut widths: Vec<u64> = odd.iter().map(|layer| layer.in_features).collect();
        widths.sort_unstable();
        widths.dedup();
        let widths: Vec<String> = widths.iter().take(4).map(u64::to_string).collect();
        let names: Vec<&str> = odd.iter().map(|layer| layer.name.as_str()).collect();
        Err(format!(
            "`group_size`: {group_size} does not divide the input features ({}) of {} of {} layers: {}; {} would fit",
            widths.join(", "),
            odd.len(),
            model.layers.len(),
            some_of(&names),
            fitting_group_sizes(model),
        )
        .into())
    }
}

/// The largest group sizes up to 256 that divide every layer's input features.
fn fitting_group_sizes(model: &ModelOutline) -> String {
    let widths = model.layers.iter().map(|layer| layer.in_features);
    let common = widths.reduce(greatest_common_divisor).unwrap_or(1);
    let sizes = (8..=256)
        .rev()
        .filter(|size| common.is_multiple_of(*size))
        .take(6);
    let mut sizes: Vec<String> = sizes.map(|size| size.to_string()).collect();
    sizes.push("\"row\"".to_owned());
    match sizes.as_slice() {
        [only] => only.clone(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
        [] => unreachable!("`row` was pushed"),
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}

/// Bits, group size and symmetry of a variant that quantizes.
///
/// # Errors
/// When the variant is packed in another way, or not within the limits of this method.
pub fn quantized(variant: &Variant, columns: usize) -> Result<(u8, usize, bool), PluginError> {
    match variant.encoding {
        Encoding::Quantized { bits, group_size, symmetric }
            if (2..=8).contains(&bits) && group_size > 0 && columns.is_multiple_of(group_size as usize) =>
        {
            Ok((bits, group_size as usize, symmetric))
        }
        ref other => Err(format!(
            "variant `{}` is to be packed as {other:?}, but this method quantizes to 2 to 8 bits in groups that divide {columns} columns", variant.name
        )
        .into()),
    }
}

impl<'de> Deserialize<'de> for GroupSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) if text == "row" => Ok(GroupSize::Row),
            Value::Number(number) => {
                let columns = number
                    .as_u64()
                    .and_then(|number| u32::try_from(number).ok());
                columns.map(GroupSize::Columns).ok_or_else(|| {
                    de::Error::custom(format!(
                        "`group_size`: found {number}; allowed are whole numbers from 1 and \"row\""
                    ))
                })
            }
            other => Err(de::Error::custom(format!(
                "`group_size`: found {other}; allowed are whole numbers from 1 and \"row\""
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use evopress_plugin::{Edit, check_units, conformance::llama_outline};

    use super::*;
    use crate::bits_budget;

    fn with(change: impl Fn(&mut WidthOptions)) -> Result<WidthOptions, PluginError> {
        let mut options = WidthOptions {
            group_size: GroupSize::Columns(32),
            ..WidthOptions::default()
        };
        change(&mut options);
        options.checked()
    }

    #[test]
    fn each_layer_is_a_unit_with_a_level_for_each_width() {
        let model = llama_outline(2);
        let units = with(|options| options.bits = vec![4, 8, 2])
            .unwrap()
            .units(&model)
            .unwrap();
        check_units(&units, &model).unwrap();
        assert_eq!(units.len(), 14);
        assert_eq!(units[8].name, "model.layers.1.self_attn.k_proj");
        let levels: Vec<_> = units[8]
            .levels
            .iter()
            .map(|level| (level.name.as_str(), level.cost))
            .collect();
        assert_eq!(levels, [("8bit", 16384), ("4bit", 8192), ("2bit", 4096)]);
        assert_eq!(units[8].calibration_level, 1);
        let whole_rows = with(|options| options.group_size = GroupSize::Row)
            .unwrap()
            .units(&model)
            .unwrap();
        let Edit::Replace { variant, .. } = &whole_rows[6].levels[4].edits[0] else {
            panic!()
        };
        assert_eq!(
            variant.encoding,
            Encoding::Quantized {
                bits: 2,
                group_size: 160,
                symmetric: false
            }
        );
    }

    #[test]
    fn calibration_is_at_three_bits_or_near() {
        let level = |bits: &[u8], calibration_bits| {
            let options = with(|options| {
                options.bits = bits.to_vec();
                options.calibration_bits = calibration_bits;
            });
            options.unwrap().calibration_level()
        };
        assert_eq!(level(&[2, 3, 4, 5, 6], None), 3);
        assert_eq!(level(&[2, 4], None), 0);
        assert_eq!(level(&[5, 8], None), 1);
        assert_eq!(level(&[2, 3, 4], Some(4)), 0);
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let refuse = |change: &dyn Fn(&mut WidthOptions)| with(change).unwrap_err().message;
        insta::assert_snapshot!(refuse(&|o| o.bits = vec![4]), @"`bits`: [4] leaves nothing to choose; at least two bit widths are needed");
        insta::assert_snapshot!(refuse(&|o| o.bits = vec![]), @"`bits`: [] leaves nothing to choose; at least two bit widths are needed");
        insta::assert_snapshot!(refuse(&|o| o.bits = vec![4, 3, 4]), @"`bits`: [4, 3, 4] names a bit width twice");
        insta::assert_snapshot!(refuse(&|o| o.bits = vec![1, 3]), @"`bits`: found 1; allowed are 2 to 8");
        insta::assert_snapshot!(refuse(&|o| o.calibration_bits = Some(8)), @"`calibration_bits`: 8 is not one of `bits`, [2, 3, 4, 5, 6]");
        let group_size = |group_size| {
            let options =
                with(|options| options.group_size = GroupSize::Columns(group_size)).unwrap();
            options.units(&llama_outline(30)).unwrap_err().message
        };
        insta::assert_snapshot!(
            group_size(128),
            @r#"`group_size`: 128 does not divide the input features (64, 160) of 210 of 210 layers: `model.layers.0.self_attn.q_proj`, `model.layers.0.self_attn.k_proj`, `model.layers.0.self_attn.v_proj` and 207 more; 32, 16, 8 or "row" would fit"#
        );
        insta::assert_snapshot!(
            group_size(64),
            @r#"`group_size`: 64 does not divide the input features (160) of 30 of 210 layers: `model.layers.0.mlp.down_proj`, `model.layers.1.mlp.down_proj`, `model.layers.2.mlp.down_proj` and 27 more; 32, 16, 8 or "row" would fit"#
        );
    }

    #[test]
    fn budgets_are_bits_of_all_weights() {
        let model = llama_outline(2);
        let units = with(|_| ()).unwrap().units(&model).unwrap();
        let budget = |target| match bits_budget(&model, &units, target) {
            Ok(budgets) => budgets
                .iter()
                .map(|budget| budget.max_cost.to_string())
                .collect(),
            Err(error) => error.message,
        };
        let num_weights: u64 = model.layers.iter().map(LayerOutline::num_weights).sum();
        assert_eq!(budget(3.0), (3 * num_weights).to_string());
        assert_eq!(budget(2.0), (2 * num_weights).to_string());
        assert_eq!(budget(2.5), (num_weights * 5 / 2).to_string());
        insta::assert_snapshot!(budget(1.99), @"1.99 bits per weight are out of range; the levels allow 2 up to, but not including, 6");
        insta::assert_snapshot!(budget(6.0), @"6 bits per weight are out of range; the levels allow 2 up to, but not including, 6");
        insta::assert_snapshot!(budget(f64::NAN), @"NaN bits per weight are out of range; the levels allow 2 up to, but not including, 6");
    }
}
