//! One unit for each linear layer.

use evopress_plugin::{
    Edit, Encoding, LayerOutline, Level, ModelOutline, PluginError, Unit, Variant,
};

/// A level of one layer.
pub struct LayerLevel {
    /// Name of the level and of its variant.
    pub name: String,
    /// Cost in the method's measure.
    pub cost: u64,
    /// How the weight is packed.
    pub encoding: Encoding,
}

/// A unit for each linear layer of the model, named after it and in no group; `levels` gives a
/// layer's levels in order of falling cost and the one at which the calibration goes on.
///
/// # Errors
/// When there are no layers, or those of `levels`.
pub fn layer_units(
    model: &ModelOutline,
    levels: impl Fn(&LayerOutline) -> Result<(Vec<LayerLevel>, usize), PluginError>,
) -> Result<Vec<Unit>, PluginError> {
    if model.layers.is_empty() {
        return Err("the model has no linear layers to compress".into());
    }
    let layers = (0_u32..).zip(&model.layers);
    let units = layers.map(|(layer_idx, layer)| {
        let (levels, calibration_level) = levels(layer)?;
        let level = |level: LayerLevel| Level {
            name: level.name.clone(),
            cost: level.cost,
            edits: vec![Edit::Replace {
                layer_idx,
                variant: Variant {
                    name: level.name,
                    encoding: level.encoding,
                },
            }],
        };
        Ok(Unit {
            name: layer.name.clone(),
            group: String::new(),
            block_idx: layer.block_idx,
            layer_idxs: vec![layer_idx],
            levels: levels.into_iter().map(level).collect(),
            calibration_level: calibration_level as u32,
        })
    });
    units.collect()
}
