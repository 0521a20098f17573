//! Levels of sparsity: steps of equal numbers of weights, explicit shares, or n:m patterns.

use evopress_plugin::{DType, Encoding, LayerOutline, ModelOutline, PluginError, Unit};
use serde_json::{Value, json};

use crate::{
    some_of,
    units::{LayerLevel, layer_units},
};

/// Steps are multiples of this many weights, so that a step's half, third, quarter, sixth and twelfth are whole.
const STEP_UNIT: u64 = 12;
/// Shares are meant to hit whole numbers of weights.
const ROUNDING: f64 = 1e-12;

/// `zeros` of each `of` consecutive weights of a row are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// Removed weights.
    pub zeros: usize,
    /// Of so many.
    pub of: usize,
}

impl Pattern {
    /// From the option's text, `2:4`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, PluginError> {
        let pattern = text.split_once(':').and_then(|(zeros, of)| {
            let (zeros, of) = (zeros.parse().ok()?, of.parse().ok()?);
            (zeros < of && of <= 64).then_some(Pattern { zeros, of })
        });
        pattern.ok_or_else(|| format!("`patterns`: found `{text}`; expected n:m with n zeros of m weights, n below m and m up to 64").into())
    }

    /// The name of its level and variant, `2of4`.
    pub fn name(self) -> String {
        format!("{}of{}", self.zeros, self.of)
    }

    /// From a variant's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Pattern::parse(&name.replacen("of", ":", 1)).ok()
    }

    fn sparsity(self) -> f64 {
        self.zeros as f64 / self.of as f64
    }
}

/// Which levels each layer has.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparsityOptions {
    /// Shares of removed weights, the same for every layer.
    pub sparsities: Option<Vec<f64>>,
    /// n:m patterns, the same for every layer.
    pub patterns: Option<Vec<String>>,
    /// The centre of the steps; by default the pipeline's target.
    pub around: Option<f64>,
    /// Weights of a step; by default a twelfth of the mean layer's.
    pub step_weights: Option<u64>,
    /// Steps to each side of the centre; by default 3.
    pub num_steps: Option<u64>,
}

/// What the options come to.
enum Choice {
    Sparsities(Vec<f64>),
    Patterns(Vec<Pattern>),
    Steps,
}

impl SparsityOptions {
    /// JSON Schemas of the options by name.
    pub fn schema() -> [(&'static str, Value); 5] {
        [
            (
                "sparsities",
                json!({
                    "description": "Shares of removed weights to choose from, the same for every layer: at least two, each once. Instead of steps around a centre.",
                    "type": "array", "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
                }),
            ),
            (
                "patterns",
                json!({
                    "description": "Patterns n:m to choose from, n zeros of each m consecutive weights of a row: at least two, each once. Instead of steps around a centre.",
                    "type": "array", "items": {"type": "string", "pattern": "^[0-9]+:[0-9]+$"}
                }),
            ),
            (
                "around",
                json!({
                    "description": "The sparsity in the middle of the levels; by default the pipeline's target where that is a sparsity.",
                    "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1
                }),
            ),
            (
                "step_weights",
                json!({
                    "description": "Weights by which neighbouring levels differ. Layers too small for all steps use a half, a third, … of it. By default a twelfth of the mean layer's weights.",
                    "type": "integer", "minimum": 1
                }),
            ),
            (
                "num_steps",
                json!({"description": "Levels to each side of the middle.", "type": "integer", "minimum": 1, "maximum": 100, "default": 3}),
            ),
        ]
    }

    /// The same, if the options make sense together.
    ///
    /// # Errors
    /// What does not.
    pub fn checked(self) -> Result<Self, PluginError> {
        self.choice()?;
        if let Some(around) = self
            .around
            .filter(|around| !(*around > 0.0 && *around < 1.0))
        {
            return Err(format!(
                "`around`: found {around}; allowed are values above 0 and below 1"
            )
            .into());
        }
        if self.step_weights == Some(0) || self.num_steps == Some(0) {
            return Err("`step_weights` and `num_steps` are at least 1".into());
        }
        Ok(self)
    }

    /// A unit for each linear layer, its levels in rising sparsity (cost: kept weights).
    ///
    /// # Errors
    /// When there are no layers, a layer is too small or no multiple of a pattern, or nothing says where the middle is.
    pub fn units(
        &self,
        model: &ModelOutline,
        target: Option<f64>,
    ) -> Result<Vec<Unit>, PluginError> {
        let dtype = if model.bytes_per_weight == 4 {
            DType::F32
        } else {
            DType::Bf16
        };
        let level = |layer: &LayerOutline, name, removed| {
            let kept = layer.num_weights() - removed;
            let encoding = Encoding::Sparse {
                num_values: kept,
                dtype,
            };
            LayerLevel {
                name,
                cost: kept,
                encoding,
            }
        };
        match self.choice()? {
            Choice::Sparsities(sparsities) => {
                let calibration = nearest(&sparsities, self.around.or(target));
                layer_units(model, |layer| {
                    let removed: Vec<u64> = sparsities
                        .iter()
                        .map(|share| removed_at(layer, *share))
                        .collect();
                    if removed.windows(2).any(|pair| pair[0] == pair[1]) {
                        return Err(format!("layer `{}`: {} weights are too few to tell the sparsities {sparsities:?} apart", layer.name, layer.num_weights()).into());
                    }
                    let levels = names(&sparsities).into_iter().zip(removed);
                    Ok((
                        levels
                            .map(|(name, removed)| level(layer, name, removed))
                            .collect(),
                        calibration,
                    ))
                })
            }
            Choice::Patterns(patterns) => {
                check_patterns(model, &patterns)?;
                let sparsities: Vec<f64> =
                    patterns.iter().map(|pattern| pattern.sparsity()).collect();
                let calibration = nearest(&sparsities, self.around.or(target));
                layer_units(model, |layer| {
                    let removed = |pattern: &Pattern| {
                        layer.num_weights() / pattern.of as u64 * pattern.zeros as u64
                    };
                    let levels = patterns
                        .iter()
                        .map(|pattern| level(layer, pattern.name(), removed(pattern)));
                    Ok((levels.collect(), calibration))
                })
            }
            Choice::Steps => {
                let around = self
                    .around
                    .or(target)
                    .filter(|around| *around > 0.0 && *around < 1.0);
                let around = around.ok_or(
                    "nothing says around which sparsity the levels are to be: give `around` or `sparsities`, or a target between 0 and 1 in this method's measure",
                )?;
                let num_steps = self.num_steps.unwrap_or(3);
                let step = self.step_weights.unwrap_or_else(|| default_step(model));
                layer_units(model, |layer| {
                    let removed = steps(layer, around, step, num_steps)?;
                    let sparsities = removed
                        .iter()
                        .map(|removed| *removed as f64 / layer.num_weights() as f64);
                    let sparsities: Vec<f64> = sparsities.collect();
                    let levels = names(&sparsities).into_iter().zip(removed);
                    Ok((
                        levels
                            .map(|(name, removed)| level(layer, name, removed))
                            .collect(),
                        num_steps as usize,
                    ))
                })
            }
        }
    }

    fn choice(&self) -> Result<Choice, PluginError> {
        let (what, given, distinct) = match (&self.sparsities, &self.patterns) {
            (Some(_), Some(_)) => {
                return Err("`sparsities` and `patterns` exclude each other".into());
            }
            (None, None) => return Ok(Choice::Steps),
            (Some(sparsities), None) => {
                if let Some(share) = sparsities.iter().find(|share| !(0.0..1.0).contains(*share)) {
                    return Err(format!("`sparsities`: found {share}; allowed are shares from 0 up to, but not including, 1").into());
                }
                let mut sorted = sparsities.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                sorted.dedup();
                ("sparsities", sparsities.len(), Choice::Sparsities(sorted))
            }
            (None, Some(patterns)) => {
                let mut sorted: Vec<Pattern> = patterns
                    .iter()
                    .map(|text| Pattern::parse(text))
                    .collect::<Result<_, _>>()?;
                sorted.sort_by(|a, b| a.sparsity().total_cmp(&b.sparsity()));
                // 2:4 and 4:8 remove equally many: such levels have no order.
                sorted.dedup_by(|a, b| a.sparsity() == b.sparsity());
                ("patterns", patterns.len(), Choice::Patterns(sorted))
            }
        };
        let num_distinct = match &distinct {
            Choice::Sparsities(sparsities) => sparsities.len(),
            Choice::Patterns(patterns) => patterns.len(),
            Choice::Steps => 0,
        };
        if given < 2 {
            return Err(format!(
                "`{what}` leaves nothing to choose; at least two are needed, found {given}"
            )
            .into());
        }
        if num_distinct < given {
            return Err(format!("`{what}`: two of them remove equally many weights").into());
        }
        Ok(distinct)
    }
}

/// Enough weights to reach the share, so that every layer at its share meets the budget in any grouping.
fn removed_at(layer: &LayerOutline, share: f64) -> u64 {
    let num_weights = layer.num_weights();
    let removed = (share * num_weights as f64 * (1.0 - ROUNDING)).ceil() as u64;
    removed.min(num_weights - 1)
}

/// A twelfth of the mean layer's weights, in whole [`STEP_UNIT`]s.
fn default_step(model: &ModelOutline) -> u64 {
    let num_weights: u64 = model.layers.iter().map(LayerOutline::num_weights).sum();
    let mean = num_weights as f64 / model.layers.len().max(1) as f64;
    let units = (mean / 12.0 / STEP_UNIT as f64).round() as u64;
    units.max(1) * STEP_UNIT
}

/// Removed weights of each level: the centre, and steps to either side of the least whole part of `step` with which all fit.
fn steps(
    layer: &LayerOutline,
    around: f64,
    step: u64,
    num_steps: u64,
) -> Result<Vec<u64>, PluginError> {
    let centre = removed_at(layer, around);
    let room = centre.min(layer.num_weights() - 1 - centre) / num_steps;
    if room == 0 {
        return Err(format!(
            "layer `{}`: {} weights are too few for {num_steps} levels to each side of a sparsity of {around}", layer.name, layer.num_weights()
        )
        .into());
    }
    // `step / part` in whole weights is at most `room` from this `part` on.
    let part = step / (room + 1) + 1;
    let step = (step / part).max(1);
    let least = centre - num_steps * step;
    Ok((0..=2 * num_steps).map(|idx| least + idx * step).collect())
}

fn check_patterns(model: &ModelOutline, patterns: &[Pattern]) -> Result<(), PluginError> {
    for pattern in patterns {
        let odd = model
            .layers
            .iter()
            .filter(|layer| !layer.in_features.is_multiple_of(pattern.of as u64));
        let odd: Vec<&str> = odd.map(|layer| layer.name.as_str()).collect();
        if !odd.is_empty() {
            return Err(format!(
                "`patterns`: {}:{} needs input features in multiples of {}, which those of {} of {} layers are not: {}",
                pattern.zeros, pattern.of, pattern.of, odd.len(), model.layers.len(), some_of(&odd),
            )
            .into());
        }
    }
    Ok(())
}

/// Where the calibration goes on: nearest to what is sought, else in the middle.
fn nearest(sparsities: &[f64], sought: Option<f64>) -> usize {
    let Some(sought) = sought.filter(|sought| sought.is_finite()) else {
        return sparsities.len() / 2;
    };
    let distance = |idx: &usize| (sparsities[*idx] - sought).abs();
    let nearest = (0..sparsities.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.unwrap_or_default()
}

/// Distinct names of rising sparsities: four decimals, or as many more as that takes.
fn names(sparsities: &[f64]) -> Vec<String> {
    let with = |decimals: usize| {
        sparsities
            .iter()
            .map(move |share| format!("{share:.decimals$}"))
    };
    let is_distinct = |names: &Vec<String>| names.windows(2).all(|pair| pair[0] != pair[1]);
    let mut names = (4..16).map(|decimals| with(decimals).collect());
    let distinct = names.find(is_distinct);
    distinct.unwrap_or_else(|| with(17).collect())
}

#[cfg(test)]
mod tests {
    use evopress_plugin::{SubBlock, check_units, conformance::llama_outline};
    use proptest::prelude::*;

    use super::*;
    use crate::sparsity_budget;

    fn layer(out_features: u64, in_features: u64) -> LayerOutline {
        LayerOutline {
            name: "l".to_owned(),
            block_idx: 0,
            sub_block: SubBlock::Mlp,
            out_features,
            in_features,
        }
    }

    fn show(units: &[Unit], idx: usize) -> String {
        let levels = units[idx]
            .levels
            .iter()
            .map(|level| format!("{} {}", level.name, level.cost));
        format!(
            "{}: {} @{}",
            units[idx].name,
            levels.collect::<Vec<_>>().join(", "),
            units[idx].calibration_level
        )
    }

    #[test]
    fn steps_are_of_equally_many_weights_and_small_layers_take_parts_of_one() {
        let model = llama_outline(2);
        let units = SparsityOptions::default().units(&model, Some(0.5)).unwrap();
        check_units(&units, &model).unwrap();
        insta::assert_snapshot!([0, 1, 4].map(|idx| show(&units, idx)).join("\n"), @"
model.layers.0.self_attn.q_proj: 0.1221 3596, 0.2480 3080, 0.3740 2564, 0.5000 2048, 0.6260 1532, 0.7520 1016, 0.8779 500 @3
model.layers.0.self_attn.k_proj: 0.1221 1798, 0.2480 1540, 0.3740 1282, 0.5000 1024, 0.6260 766, 0.7520 508, 0.8779 250 @3
model.layers.0.mlp.gate_proj: 0.3488 6668, 0.3992 6152, 0.4496 5636, 0.5000 5120, 0.5504 4604, 0.6008 4088, 0.6512 3572 @3
");
    }

    #[test]
    fn shares_and_patterns_are_the_same_for_every_layer() {
        let model = llama_outline(2);
        let shares = SparsityOptions {
            sparsities: Some(vec![0.5, 0.0, 0.75]),
            ..SparsityOptions::default()
        };
        insta::assert_snapshot!(show(&shares.units(&model, Some(0.7)).unwrap(), 4), @"model.layers.0.mlp.gate_proj: 0.0000 10240, 0.5000 5120, 0.7500 2560 @2");
        let patterns = SparsityOptions {
            patterns: Some(vec!["2:4".to_owned(), "2:8".to_owned()]),
            ..SparsityOptions::default()
        };
        insta::assert_snapshot!(show(&patterns.units(&model, None).unwrap(), 1), @"model.layers.0.self_attn.k_proj: 2of8 1536, 2of4 1024 @1");
        assert_eq!(
            Pattern::from_name("2of8"),
            Some(Pattern { zeros: 2, of: 8 })
        );
        assert_eq!(Pattern::from_name("0.5000"), None);
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let options = |sparsities: &[f64]| SparsityOptions {
            sparsities: Some(sparsities.to_vec()),
            ..SparsityOptions::default()
        };
        let patterns = |patterns: &[&str]| SparsityOptions {
            patterns: Some(patterns.iter().map(|p| (*p).to_owned()).collect()),
            ..SparsityOptions::default()
        };
        let refuse = |options: SparsityOptions| options.checked().unwrap_err().message;
        insta::assert_snapshot!(refuse(options(&[0.5])), @"`sparsities` leaves nothing to choose; at least two are needed, found 1");
        insta::assert_snapshot!(refuse(options(&[0.5, 0.5])), @"`sparsities`: two of them remove equally many weights");
        insta::assert_snapshot!(refuse(options(&[0.5, 1.0])), @"`sparsities`: found 1; allowed are shares from 0 up to, but not including, 1");
        insta::assert_snapshot!(refuse(patterns(&["2:4", "4:8"])), @"`patterns`: two of them remove equally many weights");
        insta::assert_snapshot!(refuse(patterns(&["2:4", "4:2"])), @"`patterns`: found `4:2`; expected n:m with n zeros of m weights, n below m and m up to 64");
        let units = |options: SparsityOptions| {
            options
                .checked()
                .unwrap()
                .units(&llama_outline(2), None)
                .unwrap_err()
                .message
        };
        insta::assert_snapshot!(units(SparsityOptions::default()), @"nothing says around which sparsity the levels are to be: give `around` or `sparsities`, or a target between 0 and 1 in this method's measure");
        insta::assert_snapshot!(units(patterns(&["2:48", "2:4"])), @"`patterns`: 2:48 needs input features in multiples of 48, which those of 14 of 14 layers are not: `model.layers.0.self_attn.q_proj`, `model.layers.0.self_attn.k_proj`, `model.layers.0.self_attn.v_proj` and 11 more");
        insta::assert_snapshot!(units(options(&[0.5001, 0.5002])), @"layer `model.layers.0.self_attn.q_proj`: 4096 weights are too few to tell the sparsities [0.5001, 0.5002] apart");
        insta::assert_snapshot!(units(SparsityOptions { around: Some(0.0001), ..SparsityOptions::default() }), @"layer `model.layers.0.self_attn.q_proj`: 4096 weights are too few for 3 levels to each side of a sparsity of 0.0001");
    }

    #[test]
    fn budgets_are_kept_weights() {
        let model = llama_outline(2);
        let units = SparsityOptions {
            around: Some(0.5),
            ..SparsityOptions::default()
        }
        .units(&model, None)
        .unwrap();
        let num_weights: u64 = model.layers.iter().map(LayerOutline::num_weights).sum();
        let budget = |target| match sparsity_budget(&model, &units, target) {
            Ok(budgets) => budgets
                .iter()
                .map(|budget| budget.max_cost.to_string())
                .collect(),
            Err(error) => error.message,
        };
        assert_eq!(budget(0.5), (num_weights / 2).to_string());
        insta::assert_snapshot!(budget(0.95), @"a sparsity of 0.95 is out of range; the levels allow more than 0.284 and at most 0.716");
        insta::assert_snapshot!(budget(0.1), @"a sparsity of 0.1 is out of range; the levels allow more than 0.284 and at most 0.716");
        insta::assert_snapshot!(budget(f64::NAN), @"a sparsity of NaN is out of range; the levels allow more than 0.284 and at most 0.716");
    }

    proptest! {
        /// Every layer has all its levels, evenly spaced, within the layer; and steps are whole parts of the one asked for.
        #[test]
        fn every_layer_has_its_full_range(rows in 1_u64..200, columns in 8_u64..200, around in 0.05..0.95, step in 1_u64..3000, num_steps in 1_u64..5) {
            let layer = layer(rows, columns);
            let step = step * STEP_UNIT;
            if let Ok(removed) = steps(&layer, around, step, num_steps) {
                prop_assert_eq!(removed.len() as u64, 2 * num_steps + 1);
                prop_assert_eq!(removed[num_steps as usize], removed_at(&layer, around));
                prop_assert!(*removed.last().unwrap() < layer.num_weights());
                let taken = removed[1] - removed[0];
                prop_assert!(taken > 0 && removed.windows(2).all(|pair| pair[1] - pair[0] == taken));
                // The least part of the step that fits.
                let centre = removed[num_steps as usize];
                let room = centre.min(layer.num_weights() - 1 - centre);
                let fitting = (1..).map(|part| step / part).find(|step| step * num_steps <= room);
                prop_assert_eq!(Some(taken), fitting);
            }
        }

        /// Layers at their share meet the budget of any group of them, with less than a weight each to spare.
        #[test]
        fn the_centre_meets_the_budget(around in 0.01..0.99, num_blocks in 1_u32..4) {
            let model = llama_outline(num_blocks);
            let kept: u64 = model.layers.iter().map(|layer| layer.num_weights() - removed_at(layer, around)).sum();
            let num_weights: u64 = model.layers.iter().map(LayerOutline::num_weights).sum();
            let budget = (num_weights as f64 * (1.0 - around) + 1e-6).floor() as u64;
            prop_assert!(kept <= budget && kept + model.layers.len() as u64 >= budget, "{kept} of {budget}");
        }
    }
}
