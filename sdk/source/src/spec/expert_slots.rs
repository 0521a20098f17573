//! Which layers of a block belong to which expert.

use super::block::BlockSpec;
use super::experts::ExpertsSpec;
use super::layer::{LayerRole, LayerSpec};

/// The three layers of a gated MLP, or of an expert, as slots of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatedSlots {
    /// The gate projection.
    pub gate: usize,
    /// The up projection.
    pub up: usize,
    /// The down projection.
    pub down: usize,
}

impl GatedSlots {
    /// The slots in the order of the forward pass.
    pub fn all(self) -> [usize; 3] {
        [self.gate, self.up, self.down]
    }
}

impl BlockSpec {
    /// How tokens are sent to experts; none where the MLP is dense.
    pub fn experts(&self) -> Option<&ExpertsSpec> {
        self.mlp.as_ref()?.experts.as_ref()
    }

    /// The layers of an expert; of the dense MLP or the shared expert for none.
    pub fn gated_slots(&self, expert: Option<u32>) -> Option<GatedSlots> {
        let slot = |role: LayerRole| {
            let is_it = |layer: &&LayerSpec| layer.role == role && layer.expert == expert;
            let mut layers = self.layers.iter().enumerate();
            layers.find(|(_, layer)| is_it(layer)).map(|(slot, _)| slot)
        };
        Some(GatedSlots {
            gate: slot(LayerRole::Gate)?,
            up: slot(LayerRole::Up)?,
            down: slot(LayerRole::Down)?,
        })
    }

    /// The layers of every expert, by its number; empty where the MLP is dense.
    pub fn slots_of_experts(&self) -> Vec<GatedSlots> {
        let num_experts = self.experts().map_or(0, |experts| experts.num_experts);
        let mut found = vec![[None; 3]; num_experts as usize];
        for (slot, layer) in self.layers.iter().enumerate() {
            let place = match layer.role {
                LayerRole::Gate => 0,
                LayerRole::Up => 1,
                LayerRole::Down => 2,
                _ => continue,
            };
            let of_expert = layer.expert.and_then(|idx| found.get_mut(idx as usize));
            if let Some(slots) = of_expert {
                slots[place] = Some(slot);
            }
        }
        let whole = |[gate, up, down]: [Option<usize>; 3]| {
            Some(GatedSlots {
                gate: gate?,
                up: up?,
                down: down?,
            })
        };
        let all: Option<Vec<GatedSlots>> = found.into_iter().map(whole).collect();
        all.unwrap_or_default()
    }

    /// Weights of the linear layers that a token passes on average: all of attention and of a dense
    /// MLP, and of experts those that a token takes.
    pub fn num_active_weights(&self) -> f64 {
        let layers = self.layers.iter();
        let weights = layers.map(|layer| layer.num_weights() as f64 * self.share_of(layer.expert));
        weights.sum()
    }

    /// The share of tokens that pass a layer of an expert on average; 1 for other layers.
    pub fn share_of(&self, expert: Option<u32>) -> f64 {
        match (expert, self.experts()) {
            (Some(_), Some(experts)) => {
                f64::from(experts.num_active) / f64::from(experts.num_experts)
            }
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::small;
    use super::*;

    #[test]
    fn experts_have_three_layers_each() {
        let block = small::mixture().blocks.swap_remove(1);
        let slots = block.slots_of_experts();
        assert_eq!(slots.len(), 4);
        assert_eq!(slots[3].all(), [13, 14, 15]);
        assert_eq!(block.gated_slots(Some(3)), Some(slots[3]));
        // The shared expert's come last.
        let shared = block.gated_slots(None).map(GatedSlots::all);
        assert_eq!(shared, Some([16, 17, 18]));
        assert_eq!(block.layers[18].in_features, 16);
        // Half of the experts are active.
        let dense = 3 * 8 * 16 + 8 * 8 + 2 * 4 * 8 + 8 * 8;
        assert_eq!(
            block.num_active_weights(),
            f64::from(dense + 2 * 3 * 8 * 24)
        );
        assert_eq!(small::biased().blocks[0].slots_of_experts(), []);
    }

    #[test]
    fn a_router_and_a_gate_are_tensors_of_their_block() {
        let spec = small::mixture();
        let names: Vec<String> = spec.tensors().into_iter().map(|it| it.name).collect();
        for name in [
            "model.layers.1.mlp.gate.weight",
            "model.layers.1.mlp.shared_expert_gate.weight",
        ] {
            assert!(names.iter().any(|it| it == name), "{name}");
        }
        assert!(
            !names
                .iter()
                .any(|it| it == "model.layers.0.mlp.gate.weight")
        );
        // An expert reads its own tokens.
        let groups = spec.blocks[1].layers_by_input();
        assert_eq!(groups.len(), 2 + 2 * 4 + 2);
    }
}
