//! Options, and the levels that follow from them.

use evopress_layerwise::{LayerLevel, layer_units, some_of};
use evopress_plugin::{Encoding, GgmlType, LayerOutline, ModelOutline, PluginError, Unit};
use serde::Deserialize;
use serde_json::{Value, json};

const SUPER_BLOCKS: [GgmlType; 6] = [
    GgmlType::Q6K,
    GgmlType::Q5K,
    GgmlType::Q4K,
    GgmlType::Iq4Xs,
    GgmlType::Q3K,
    GgmlType::Q2K,
];
/// Where 256 does not divide a layer's width. llama.cpp's own mixes fall back to these there.
const BLOCKS: [GgmlType; 5] = [
    GgmlType::Q8_0,
    GgmlType::Q5_1,
    GgmlType::Q5_0,
    GgmlType::Q4_1,
    GgmlType::Iq4Nl,
];
/// For those who ask for them: `Q4_0` has the bits of `IQ4_NL` and errs more, `Q2_0` is younger
/// than many readers.
const BLOCKS_ON_REQUEST: [GgmlType; 2] = [GgmlType::Q4_0, GgmlType::Q2_0];
/// Where the calibration goes on, unless an option says so: the nearest to these bits a weight.
const CALIBRATION_BITS: f64 = 4.5;

/// The plugin's options, as they are written.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    types: Option<Vec<String>>,
    fallback: Option<Vec<String>>,
    pub(crate) error_feedback: bool,
    pub(crate) damping: f64,
    importance: Option<Importance>,
    calibration_type: Option<String>,
    #[serde(skip)]
    levels: Levels,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            types: None,
            fallback: None,
            error_feedback: true,
            damping: 0.01,
            importance: None,
            calibration_type: None,
            levels: Levels::default(),
        }
    }
}

/// What the error of a weight is weighted by where scales are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Importance {
    /// What is left of its input's mean square beside the inputs of later columns, which can take
    /// errors over.
    Residual,
    /// The mean square of its input, llama.cpp's importance matrix.
    InputNorms,
    /// Nothing.
    None,
}

/// The types, read and put in order of falling bits.
#[derive(Debug, Clone, Default)]
struct Levels {
    types: Vec<GgmlType>,
    fallback: Vec<GgmlType>,
    calibration: Option<GgmlType>,
}

impl Options {
    /// JSON Schemas of the options by name.
    pub(crate) fn schema() -> [(&'static str, Value); 6] {
        let names =
            |types: &[GgmlType]| -> Vec<&str> { types.iter().rev().map(|it| it.name()).collect() };
        let narrow = [names(&BLOCKS_ON_REQUEST), names(&BLOCKS)].concat();
        let all = [names(&SUPER_BLOCKS), narrow.clone()].concat();
        [
            (
                "types",
                json!({
                    "description": "Types of a layer to choose from: at least two, each once. The K-quants and IQ4_XS need layers whose input features 256 divides, Q2_0 64, the others 32. PyPI's gguf does not read Q2_0 yet.",
                    "type": "array", "items": {"enum": all}, "default": names(&SUPER_BLOCKS)
                }),
            ),
            (
                "fallback",
                json!({
                    "description": "Types of the layers that `types` do not divide. Default: none where `types` are given, else IQ4_NL, Q4_1, Q5_0, Q5_1 and Q8_0.",
                    "type": "array", "items": {"enum": narrow}
                }),
            ),
            (
                "error_feedback",
                json!({
                    "description": "Whether later columns take over the errors of earlier ones, as in GPTQ. Needs the second moment of each layer's inputs.",
                    "type": "boolean", "default": true
                }),
            ),
            (
                "damping",
                json!({
                    "description": "With error feedback: what is added to the second moment's diagonal, as a share of its mean.",
                    "type": "number", "minimum": 0, "maximum": 1, "default": 0.01
                }),
            ),
            (
                "importance",
                json!({
                    "description": "What errors of weights are weighted by where scales are fitted: the mean squares of their inputs (llama.cpp's importance matrix); with error feedback the residual, what inputs of later columns do not explain of these; or nothing. Default: `residual` with error feedback, else `input-norms`.",
                    "enum": ["residual", "input-norms", "none"]
                }),
            ),
            (
                "calibration_type",
                json!({
                    "description": "The type at which the calibration of later blocks goes on; by default the one that is nearest to 4.5 bits.",
                    "enum": all
                }),
            ),
        ]
    }

    /// These options with their types read, if they make sense together.
    pub(crate) fn checked(mut self) -> Result<Self, PluginError> {
        if !(0.0..=1.0).contains(&self.damping) {
            let found = self.damping;
            return Err(format!("`damping`: found {found}; allowed are values from 0 to 1").into());
        }
        if self.importance == Some(Importance::Residual) && !self.error_feedback {
            return Err("`importance`: `residual` is for `error_feedback: true`; allowed without it are `input-norms` and `none`".into());
        }
        let types = match &self.types {
            Some(types) => read("types", types)?,
            None => SUPER_BLOCKS.to_vec(),
        };
        let fallback = match (&self.fallback, &self.types) {
            (Some(types), _) => read("fallback", types)?,
            (None, None) => BLOCKS.to_vec(),
            (None, Some(_)) => Vec::new(),
        };
        if let Some(wide) = fallback.iter().find(|it| it.block_len() > 64) {
            return Err(format!(
                "`fallback`: {wide} has blocks of {}; allowed are {}",
                wide.block_len(),
                list(&[&BLOCKS[..], &BLOCKS_ON_REQUEST].concat())
            )
            .into());
        }
        let calibration = match &self.calibration_type {
            None => None,
            Some(name) => {
                let known = types.iter().chain(&fallback).find(|it| it.name() == name);
                Some(*known.ok_or_else(|| {
                    format!("`calibration_type`: {name} is not one of the types to choose from")
                })?)
            }
        };
        self.levels = Levels {
            types,
            fallback,
            calibration,
        };
        Ok(self)
    }

    /// What errors are weighted by.
    pub(crate) fn importance(&self) -> Importance {
        self.importance.unwrap_or(match self.error_feedback {
            true => Importance::Residual,
            false => Importance::InputNorms,
        })
    }

    /// A unit for each linear layer, its levels in falling bits (`Q4_K`, cost: bits of all its
    /// blocks).
    pub(crate) fn units(&self, model: &ModelOutline) -> Result<Vec<Unit>, PluginError> {
        self.check_widths(model)?;
        layer_units(model, |layer| {
            let types = self.types_of(layer).unwrap_or_default();
            let levels = types.iter().map(|&ggml_type| LayerLevel {
                name: ggml_type.name().to_owned(),
                cost: ggml_type.size_bytes(layer.num_weights()) * 8,
                encoding: Encoding::Ggml { ggml_type },
            });
            Ok((levels.collect(), self.calibration_level(types)))
        })
    }

    /// The types that a layer can have, if the options have some for its width.
    fn types_of(&self, layer: &LayerOutline) -> Option<&[GgmlType]> {
        let Levels {
            types, fallback, ..
        } = &self.levels;
        let fits = |types: &[GgmlType]| {
            let mut lengths = types.iter().map(|it| it.block_len() as u64);
            !types.is_empty() && lengths.all(|len| layer.in_features.is_multiple_of(len))
        };
        let mut choices = [types.as_slice(), fallback].into_iter();
        choices.find(|types| fits(types))
    }

    fn calibration_level(&self, types: &[GgmlType]) -> usize {
        let calibration = self.levels.calibration;
        let sought = calibration.map_or(CALIBRATION_BITS, GgmlType::bits_per_weight);
        let distance = |at: &usize| (types[*at].bits_per_weight() - sought).abs();
        let nearest = (0..types.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.unwrap_or_default()
    }

    fn check_widths(&self, model: &ModelOutline) -> Result<(), PluginError> {
        let is_odd = |layer: &&LayerOutline| self.types_of(layer).is_none();
        let odd: Vec<&LayerOutline> = model.layers.iter().filter(is_odd).collect();
        if odd.is_empty() {
            return Ok(());
        }
        let mut widths: Vec<u64> = odd.iter().map(|layer| layer.in_features).collect();
        widths.sort_unstable();
        widths.dedup();
        let fit = match widths.iter().all(|width| width.is_multiple_of(32)) {
            true => format!("`fallback` with two or more of {} would fit", list(&BLOCKS)),
            false => "no type of llama.cpp with fewer than 16 bits fits".to_owned(),
        };
        let widths: Vec<String> = widths.iter().take(4).map(u64::to_string).collect();
        let names: Vec<&str> = odd.iter().map(|layer| layer.name.as_str()).collect();
        let mut types = self.levels.types.clone();
        types.retain(|it| {
            let len = it.block_len() as u64;
            odd.iter()
                .any(|layer| !layer.in_features.is_multiple_of(len))
        });
        Err(format!(
            "`types`: blocks of {} do not divide the input features ({}) of {} of {} layers: {}; {fit}",
            list(&types),
            widths.join(", "),
            odd.len(),
            model.layers.len(),
            some_of(&names),
        )
        .into())
    }
}

/// Types by their names, in falling bits.
fn read(option: &str, names: &[String]) -> Result<Vec<GgmlType>, PluginError> {
    let known = || SUPER_BLOCKS.iter().chain(&BLOCKS).chain(&BLOCKS_ON_REQUEST);
    let mut types = Vec::new();
    for name in names {
        let found = known().find(|it| it.name() == name).ok_or_else(|| {
            let all: Vec<GgmlType> = known().copied().collect();
            format!("`{option}`: found {name:?}; allowed are {}", list(&all))
        })?;
        if types.contains(found) {
            return Err(format!("`{option}`: {name} is there twice").into());
        }
        types.push(*found);
    }
    types.sort_by(|a: &GgmlType, b| b.bits_per_weight().total_cmp(&a.bits_per_weight()));
    if let Some(pair) = types
        .windows(2)
        .find(|pair| pair[0].bits_per_weight() == pair[1].bits_per_weight())
    {
        return Err(format!(
            "`{option}`: {} and {} both have {} bits a weight, so that nothing tells their levels apart",
            pair[0],
            pair[1],
            pair[0].bits_per_weight()
        )
        .into());
    }
    let is_left_out = option == "fallback" && types.is_empty();
    if types.len() < 2 && !is_left_out {
        return Err(format!(
            "`{option}`: {names:?} leaves nothing to choose; at least two types are needed"
        )
        .into());
    }
    Ok(types)
}

fn list(types: &[GgmlType]) -> String {
    let names: Vec<&str> = types.iter().rev().map(|it| it.name()).collect();
    names.join(", ")
}
