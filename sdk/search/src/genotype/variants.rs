//! Which compressed weights a method's levels are made of: what a level database has to hold.

use std::collections::BTreeMap;

use evopress_plugin::{Edit, ModelOutline, Unit, Variant};

use super::candidate::WeightId;
use crate::error::{Result, SearchError};

/// The compressed weights of one layer by one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerVariants {
    /// The layer, an index into the outline's layers.
    pub layer_idx: u32,
    /// Distinct, in the order of the unit's levels.
    pub variants: Vec<Variant>,
    /// The one with which calibration goes on to the next block, an index into `variants`; none:
    /// the dense weight.
    pub calibration: Option<u16>,
}

/// Every variant of a method's units, by layer. They are those before any tying, so that a database
/// serves every grouping.
pub(super) fn of_units(units: &[Unit], outline: &ModelOutline) -> Result<Vec<LayerVariants>> {
    let mut layers: BTreeMap<u32, LayerVariants> = BTreeMap::new();
    for unit in units {
        for (level_idx, level) in unit.levels.iter().enumerate() {
            for edit in &level.edits {
                let Edit::Replace { layer_idx, variant } = edit else {
                    continue;
                };
                let layer = layers.entry(*layer_idx).or_insert_with(|| LayerVariants {
                    layer_idx: *layer_idx,
                    variants: Vec::new(),
                    calibration: None,
                });
                let idx = match layer.variants.iter().position(|v| v.name == variant.name) {
                    Some(idx) if layer.variants[idx] == *variant => idx,
                    Some(_) => {
                        return Err(SearchError::Budget(format!(
                            "layer `{}` has two different variants `{}`",
                            outline.layers[*layer_idx as usize].name, variant.name
                        )));
                    }
                    None => {
                        layer.variants.push(variant.clone());
                        layer.variants.len() - 1
                    }
                };
                if level_idx == unit.calibration_level as usize {
                    layer.calibration = Some(idx as u16);
                }
            }
        }
    }
    Ok(layers.into_values().collect())
}

/// Where a variant of a layer is kept. The layer and the variant are among those of [`of_units`].
pub(super) fn weight_id(
    layers: &[LayerVariants],
    method_idx: u16,
    layer_idx: u32,
    variant: &Variant,
) -> WeightId {
    let variant_idx = layers
        .binary_search_by_key(&layer_idx, |layer| layer.layer_idx)
        .ok()
        .and_then(|at| layers[at].variants.iter().position(|v| v == variant))
        .expect("every variant of a unit is collected before units are tied or merged");
    WeightId {
        method_idx,
        layer_idx,
        variant_idx: variant_idx as u16,
    }
}
