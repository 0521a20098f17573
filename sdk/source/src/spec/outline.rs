//! What method plugins see of a model.

use evopress_plugin::{LayerOutline, ModelOutline};

use super::model::ModelSpec;

impl ModelSpec {
    /// The outline for method plugins; `bytes_per_weight` is that of the run's dtype.
    pub fn outline(&self, bytes_per_weight: u32) -> ModelOutline {
        let mut layers = Vec::with_capacity(self.num_layers());
        let mut num_inputs = 0;
        for (block_idx, block) in self.blocks.iter().enumerate() {
            let groups = block.layers_by_input();
            let mut input_idxs = vec![0; block.layers.len()];
            for (input_idx, group) in (num_inputs..).zip(&groups) {
                for &slot in &group.slots {
                    input_idxs[slot] = input_idx;
                }
            }
            for (layer, input_idx) in block.layers.iter().zip(input_idxs) {
                layers.push(LayerOutline {
                    name: format!("{}.{}", self.block_name(block_idx), layer.name),
                    block_idx: block_idx as u32,
                    sub_block: layer.sub_block,
                    expert_idx: layer.expert,
                    input_idx,
                    out_features: layer.out_features as u64,
                    in_features: layer.in_features as u64,
                    has_bias: layer.has_bias,
                });
            }
            num_inputs += groups.len() as u32;
        }
        ModelOutline {
            num_blocks: self.num_blocks() as u32,
            layers,
            bytes_per_weight,
        }
    }
}
