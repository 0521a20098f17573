//! Layers to try a method with.

use std::collections::BTreeMap;

use super::super::random_values;
use super::Inputs;
use crate::{
    CompressTask, Edit, Encoding, LayerTask, Method, ModelOutline, PackedWeight, PluginError,
    Statistics, TensorView, Unit, Variant,
};

/// Layers with the same inputs, and the variants that units make of them.
pub(super) struct Case {
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<usize>,
    pub(super) columns: usize,
    pub(super) variants: Vec<Vec<Variant>>,
    pub(super) weights: Vec<Vec<f32>>,
    pub(super) inputs: Inputs,
}

/// A case for each input of the first block.
pub(super) fn cases(model: &ModelOutline, units: &[Unit]) -> Vec<Case> {
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
pub(super) struct Change {
    pub(super) no_statistics: bool,
    pub(super) odd_statistics: Option<f32>,
    pub(super) fewer_features: bool,
    pub(super) odd_weight: Option<f32>,
    pub(super) encoding: Option<Encoding>,
}

impl Case {
    /// What the method makes of the layers, with something changed.
    pub(super) fn compress(
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
