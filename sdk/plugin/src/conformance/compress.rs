//! Rules for compressed weights.

use std::collections::BTreeMap;

use super::{Findings, random_values};
use crate::{
    CompressTask, DType, Decoder, Edit, Element, Encoding, LayerTask, Method, ModelOutline,
    OwnedTensor, PackedWeight, PluginError, Statistics, TensorView, Unit, Variant,
};

/// The largest share of the outputs' energy that a layer may lose at its dearest level.
const MAX_ERROR: f64 = 0.3;
/// Tokens of made-up inputs for each feature.
const TOKENS_PER_FEATURE: usize = 4;

/// Statistics of made-up inputs, neighbouring features of which have much in common.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Number of tokens.
    pub num_tokens: usize,
    /// `mean(x xᵀ)`, `[K, K]`.
    pub hessian: Vec<f32>,
    /// Root mean square of each feature, `[K]`.
    pub norms: Vec<f32>,
}

impl Inputs {
    /// Inputs of `num_features` features.
    pub fn random(num_features: usize, seed: u64) -> Self {
        let num_tokens = TOKENS_PER_FEATURE * num_features;
        let noise = random_values(num_tokens * num_features, seed);
        let sizes = random_values(num_features, seed + 1);
        let mut inputs = noise.clone();
        for (inputs, noise) in (inputs.chunks_mut(num_features)).zip(noise.chunks(num_features)) {
            for feature in 0..num_features {
                let before = if feature == 0 {
                    0.0
                } else {
                    inputs[feature - 1]
                };
                inputs[feature] = 0.8 * before + noise[feature];
            }
            for (input, size) in inputs.iter_mut().zip(&sizes) {
                *input *= size.exp2();
            }
        }
        let mut hessian = vec![0_f64; num_features * num_features];
        for input in inputs.chunks(num_features) {
            for (row, &left) in hessian.chunks_mut(num_features).zip(input) {
                for (sum, &right) in row.iter_mut().zip(input) {
                    *sum += f64::from(left) * f64::from(right);
                }
            }
        }
        let mean = |sum: &f64| (sum / num_tokens as f64) as f32;
        let hessian: Vec<f32> = hessian.iter().map(mean).collect();
        let diagonal = hessian.iter().step_by(num_features + 1);
        Inputs {
            num_tokens,
            norms: diagonal.map(|square| square.sqrt()).collect(),
            hessian,
        }
    }

    /// The share of the outputs' energy that is wrong when a weight `W` is replaced by `V`:
    /// `tr((W − V) H (W − V)ᵀ) / tr(W H Wᵀ)`.
    pub fn output_error(&self, weight: &[f32], replaced_by: &[f32]) -> f64 {
        let difference: Vec<f32> = weight.iter().zip(replaced_by).map(|(w, v)| w - v).collect();
        self.energy(&difference) / self.energy(weight)
    }

    fn energy(&self, weight: &[f32]) -> f64 {
        let num_features = self.norms.len();
        let rows = weight.chunks(num_features).map(|row| {
            let products = self
                .hessian
                .chunks(num_features)
                .zip(row)
                .map(|(moments, &left)| {
                    let product = moments
                        .iter()
                        .zip(row)
                        .map(|(m, w)| f64::from(*m) * f64::from(*w));
                    f64::from(left) * product.sum::<f64>()
                });
            products.sum::<f64>()
        });
        rows.sum()
    }
}

/// A compressed weight of `rows × columns`, written out.
///
/// # Errors
/// When its parts do not fit the encoding.
pub fn decode(
    packed: &PackedWeight,
    encoding: &Encoding,
    rows: usize,
    columns: usize,
) -> Result<Vec<f32>, PluginError> {
    let parts: Vec<Vec<u8>> = packed
        .parts
        .iter()
        .map(bytes_of)
        .collect::<Result<_, _>>()?;
    let decoder = Decoder::new(
        encoding,
        rows,
        columns,
        parts.iter().map(Vec::as_slice).collect(),
    )?;
    let mut weights = vec![0.0; rows * columns];
    for (row, weights) in weights.chunks_mut(columns).enumerate() {
        decoder.row(row, weights);
    }
    Ok(weights)
}

fn bytes_of(part: &OwnedTensor) -> Result<Vec<u8>, PluginError> {
    fn flat<T: Element, const N: usize>(
        part: &OwnedTensor,
        bytes: fn(T) -> [u8; N],
    ) -> Result<Vec<u8>, PluginError> {
        let elements = part.view().as_slice::<T>()?;
        Ok(elements
            .iter()
            .flat_map(|element| bytes(*element))
            .collect())
    }
    match part.view().dtype() {
        DType::U8 => flat(part, u8::to_le_bytes),
        DType::F32 => flat(part, f32::to_le_bytes),
        DType::F16 => flat(part, half::f16::to_le_bytes),
        DType::Bf16 => flat(part, half::bf16::to_le_bytes),
        DType::I64 => flat(part, i64::to_le_bytes),
    }
}

/// Layers with the same inputs, and the variants that units make of them.
struct Case {
    names: Vec<String>,
    rows: Vec<usize>,
    columns: usize,
    variants: Vec<Vec<Variant>>,
    weights: Vec<Vec<f32>>,
    inputs: Inputs,
}

/// Rules for [`Method::compress`], on the first block's layers.
pub(super) fn check_compress(
    findings: &mut Findings,
    place: &str,
    method: &dyn Method,
    model: &ModelOutline,
    units: &[Unit],
) {
    for case in cases(model, units) {
        let place = format!("{place}, layers that read what `{}` reads", case.names[0]);
        let packed = match case.compress(method, &Change::default()) {
            Ok(packed) => packed,
            Err(error) => {
                findings.add(format!("{place}: {error}"));
                continue;
            }
        };
        check_same(
            findings,
            &place,
            &packed,
            case.compress(method, &Change::default()),
        );
        check_errors(findings, &place, &case, &packed);
        check_refusals(findings, &place, &case, method);
    }
}

fn cases(model: &ModelOutline, units: &[Unit]) -> Vec<Case> {
    let mut by_layer: BTreeMap<u32, Vec<Variant>> = BTreeMap::new();
    for edit in units
        .iter()
        .flat_map(|unit| &unit.levels)
        .flat_map(|level| &level.edits)
    {
        let Edit::Replace { layer_idx, variant } = edit else {
            continue;
        };
        let variants = by_layer.entry(*layer_idx).or_default();
        if model.layers[*layer_idx as usize].block_idx == 0 && !variants.contains(variant) {
            variants.push(variant.clone());
        }
    }
    let mut cases: BTreeMap<u32, Case> = BTreeMap::new();
    for (layer_idx, variants) in by_layer {
        let layer = &model.layers[layer_idx as usize];
        if variants.is_empty() {
            continue;
        }
        let columns = layer.in_features as usize;
        let case = cases.entry(layer.input_idx).or_insert_with(|| Case {
            names: Vec::new(),
            rows: Vec::new(),
            columns,
            variants: Vec::new(),
            weights: Vec::new(),
            inputs: Inputs::random(columns, 5),
        });
        case.names.push(layer.name.clone());
        case.rows.push(layer.out_features as usize);
        case.weights.push(random_values(
            layer.num_weights() as usize,
            u64::from(layer_idx),
        ));
        case.variants.push(variants);
    }
    cases.into_values().collect()
}

/// What to do differently to see it refused.
#[derive(Debug, Default)]
struct Change {
    no_statistics: bool,
    odd_statistics: Option<f32>,
    fewer_features: bool,
    odd_weight: Option<f32>,
    encoding: Option<Encoding>,
}

impl Case {
    fn compress(
        &self,
        method: &dyn Method,
        change: &Change,
    ) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let needed = method.statistics();
        let mut inputs = match change.fewer_features {
            true => Inputs::random(self.columns - 1, 5),
            false => self.inputs.clone(),
        };
        if let Some(odd) = change.odd_statistics {
            inputs.norms[1] = odd;
            inputs.hessian[1] = odd;
        }
        let num_features = inputs.norms.len() as i64;
        let hessian = TensorView::from_slice(&inputs.hessian, &[num_features, num_features])?;
        let mut weights = self.weights.clone();
        if let Some(odd) = change.odd_weight {
            weights[0][3] = odd;
        }
        let mut variants = self.variants.clone();
        if let Some(encoding) = &change.encoding {
            variants[0][0].encoding = encoding.clone();
        }
        let layers = (0..self.names.len()).map(|idx| {
            let shape = [self.rows[idx] as i64, self.columns as i64];
            let weight = TensorView::from_slice(&weights[idx], &shape)?;
            Ok(LayerTask {
                name: &self.names[idx],
                weight,
                variants: &variants[idx],
            })
        });
        let has = |least| needed >= least && !change.no_statistics;
        method.compress(&CompressTask {
            num_tokens: if needed == Statistics::None {
                0
            } else {
                inputs.num_tokens as u64
            },
            input_norms: has(Statistics::InputNorms).then_some(&*inputs.norms),
            hessian: has(Statistics::Hessian).then_some(hessian),
            layers: layers.collect::<Result<_, PluginError>>()?,
        })
    }
}

fn check_same(
    findings: &mut Findings,
    place: &str,
    packed: &[Vec<PackedWeight>],
    again: Result<Vec<Vec<PackedWeight>>, PluginError>,
) {
    let bytes = |packed: &[Vec<PackedWeight>]| -> Result<Vec<Vec<u8>>, PluginError> {
        let parts = packed.iter().flatten().flat_map(|weight| &weight.parts);
        parts.map(bytes_of).collect()
    };
    let is_same = again.is_ok_and(|again| bytes(&again) == bytes(packed));
    findings.require(is_same, || {
        format!("{place}: other weights the second time")
    });
}

/// Every variant can be decoded; the dearest is not far off, and no worse than the cheapest.
fn check_errors(findings: &mut Findings, place: &str, case: &Case, packed: &[Vec<PackedWeight>]) {
    for (idx, of_layer) in packed.iter().enumerate() {
        let decoded = of_layer
            .iter()
            .zip(&case.variants[idx])
            .map(|(packed, variant)| {
                decode(packed, &variant.encoding, case.rows[idx], case.columns)
                    .map(|decoded| case.inputs.output_error(&case.weights[idx], &decoded))
                    .map_err(|error| {
                        format!(
                            "{place}, `{}`, variant `{}`: {error}",
                            case.names[idx], variant.name
                        )
                    })
            });
        let errors: Vec<f64> = match decoded.collect::<Result<_, _>>() {
            Ok(errors) => errors,
            Err(finding) => {
                findings.add(finding);
                continue;
            }
        };
        let (Some(dearest), Some(cheapest)) = (errors.first(), errors.last()) else {
            continue;
        };
        findings.require(*dearest <= MAX_ERROR, || {
            format!("{place}, `{}`: {dearest:.3} of the outputs is lost at the dearest level, more than {MAX_ERROR}", case.names[idx])
        });
        findings.require(dearest <= cheapest, || {
            format!("{place}, `{}`: {dearest:.3} of the outputs is lost at the dearest level, but {cheapest:.3} at the cheapest", case.names[idx])
        });
    }
}

fn check_refusals(findings: &mut Findings, place: &str, case: &Case, method: &dyn Method) {
    let foreign = match case.variants[0][0].encoding {
        Encoding::Quantized { .. } | Encoding::Ggml { .. } => Encoding::Sparse {
            num_values: case.columns as u64,
            dtype: DType::F32,
        },
        Encoding::Sparse { .. } => Encoding::Quantized {
            bits: 4,
            group_size: case.columns as u32,
            symmetric: false,
        },
    };
    let mut changes = vec![
        (
            "a weight that is not a number",
            Change {
                odd_weight: Some(f32::NAN),
                ..Change::default()
            },
        ),
        (
            "an infinite weight",
            Change {
                odd_weight: Some(f32::INFINITY),
                ..Change::default()
            },
        ),
        (
            "an encoding that is not its own",
            Change {
                encoding: Some(foreign),
                ..Change::default()
            },
        ),
    ];
    if method.statistics() != Statistics::None {
        changes.extend([
            (
                "no statistics",
                Change {
                    no_statistics: true,
                    ..Change::default()
                },
            ),
            (
                "statistics that are not numbers",
                Change {
                    odd_statistics: Some(f32::NAN),
                    ..Change::default()
                },
            ),
            (
                "infinite statistics",
                Change {
                    odd_statistics: Some(f32::INFINITY),
                    ..Change::default()
                },
            ),
            (
                "statistics of fewer features",
                Change {
                    fewer_features: true,
                    ..Change::default()
                },
            ),
        ]);
    }
    for (what, change) in changes {
        match case.compress(method, &change) {
            Ok(_) => findings.add(format!("{place}: {what}: accepted")),
            Err(error) => {
                findings.require(!error.message.contains(" panicked: "), || {
                    format!("{place}: {what}: {error}")
                });
                let names_one = case
                    .names
                    .iter()
                    .any(|name| error.message.contains(name.as_str()));
                findings.require(names_one, || {
                    format!("{place}: {what}: the refusal names no layer: {error}")
                });
            }
        }
    }
}
