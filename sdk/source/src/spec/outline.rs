//! What method plugins see of a model.

use evopress_plugin::{LayerOutline, ModelOutline};

use super::block::InputGroup;
use super::model::ModelSpec;

impl ModelSpec {
    /// The outline for method plugins; `bytes_per_weight` is that of the run's dtype.
    pub fn outline(&self, bytes_per_weight: u32) -> ModelOutline {
        let mut layers = Vec::with_capacity(self.num_layers());
        let mut num_inputs = 0;
        for (block_idx, block) in self.blocks.iter().enumerate() {
            let groups = block.layers_by_input();
            for layer in &block.layers {
                let reads_it =
                    |group: &InputGroup| group.input == layer.input && group.expert == layer.expert;
                let group_idx = groups.iter().position(reads_it);
                let group_idx = group_idx.expect("every layer reads one of its block's inputs");
                layers.push(LayerOutline {
                    name: format!("{}.{}", self.block_name(block_idx), layer.name),
                    block_idx: block_idx as u32,
                    sub_block: layer.sub_block,
                    expert_idx: layer.expert,
                    input_idx: num_inputs + group_idx as u32,
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
