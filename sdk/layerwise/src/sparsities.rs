//! Levels of sparsity: steps of equal numbers of weights, explicit shares, or n:m patterns.

use evopress_plugin::{DType, Encoding, LayerOutline, ModelOutline, PluginError, Unit};
use serde_json::{Value, json};

use crate::{
    some_of,
    units::{LayerLevel, layer_units},
};

/// Steps are multiples of this many weights, so that a step's half, third, quarter, sixth and
/// twelfth are whole.
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

    /// These options, if they make sense together.
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
    /// When there are no layers, a layer is too small or no multiple of a pattern, or nothing says
    /// where the middle is.
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

/// Enough weights to reach the share, so that every layer at its share meets the budget in any
/// grouping.
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

/// Removed weights of each level: the centre, and steps to either side of the least whole part of
/// `step` with which all fit.
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
mod tests;
