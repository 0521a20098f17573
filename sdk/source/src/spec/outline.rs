//! What method plugins see of a model.

use evopress_plugin::{LayerOutline, ModelOutline};

use super::model::ModelSpec;

impl ModelSpec {
    /// The outline for method plugins; `bytes_per_weight` is that of the run's dtype.
    pub fn outline(&self, bytes_per_weight: u32) -> ModelOutline {
        let layers = self.layers().map(|layer| LayerOutline {
            name: self.layer_name(layer),
            block_idx: layer.block_idx as u32,
            sub_block: layer.spec.sub_block,
            out_features: layer.spec.out_features as u64,
            in_features: layer.spec.in_features as u64,
        });
        ModelOutline {
            num_blocks: self.num_blocks() as u32,
            layers: layers.collect(),
            bytes_per_weight,
        }
    }
}
