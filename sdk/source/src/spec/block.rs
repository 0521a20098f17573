//! A transformer block: its layers, norms, attention and MLP.

use std::collections::HashMap;

use evopress_plugin::SubBlock;

use super::experts::ExpertsSpec;
use super::layer::{LayerInput, LayerRole, LayerSpec};
use super::rope::Rope;

/// A transformer block. A sub-block that it does not have has no layers and no norms either.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockSpec {
    /// The linear layers in the order of the forward pass.
    pub layers: Vec<LayerSpec>,
    /// The norms over the residual stream.
    pub norms: Vec<NormSpec>,
    /// How attention is computed; none where the block has no attention.
    pub attention: Option<AttentionSpec>,
    /// How the MLP is computed; none where the block has no MLP.
    pub mlp: Option<MlpSpec>,
    /// What a sub-block's output is multiplied with before it is added to the residual stream;
    /// none for 1.
    pub residual_scale: Option<f64>,
}

/// A root-mean-square norm `x / sqrt(mean(x²) + eps) · w`.
#[derive(Debug, Clone, PartialEq)]
pub struct NormSpec {
    /// Hugging Face's name without `.weight`: within the block, `input_layernorm`, or of the whole
    /// model, `model.norm`.
    pub name: String,
    /// Where it stands.
    pub place: NormPlace,
    /// Length of its weight.
    pub width: i64,
    /// Added to the mean square.
    pub eps: f64,
    /// Whether Hugging Face's file holds `w − 1`, as Gemma's do.
    pub is_offset: bool,
}

/// Where a norm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NormPlace {
    /// Between the residual stream and attention.
    BeforeAttention,
    /// Between the query projection and the rotation: over each head where its width is that of a
    /// head, over all heads together otherwise.
    Query,
    /// Between the key projection and the rotation, like [`NormPlace::Query`].
    Key,
    /// Between what attention puts out and the residual stream.
    AfterAttention,
    /// Between the residual stream and the MLP.
    BeforeMlp,
    /// Between what the MLP puts out and the residual stream.
    AfterMlp,
    /// Between the last block and the head.
    Final,
}

impl NormPlace {
    /// The half of the block that the norm belongs to; none for the final norm.
    pub fn sub_block(self) -> Option<SubBlock> {
        match self {
            Self::BeforeAttention | Self::Query | Self::Key | Self::AfterAttention => {
                Some(SubBlock::Attention)
            }
            Self::BeforeMlp | Self::AfterMlp => Some(SubBlock::Mlp),
            Self::Final => None,
        }
    }
}

/// How a block's attention is computed.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub num_heads: i64,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: i64,
    /// Width of a head, even.
    pub head_dim: i64,
    /// How queries and keys are rotated by position; none where they are not.
    pub rope: Option<Rope>,
    /// How many of the latest tokens a query sees, itself included; none where it sees all.
    pub window: Option<i64>,
    /// `c`, where scores are capped by `c · tanh(score / c)`.
    pub score_cap: Option<f64>,
    /// What the products of queries and keys are multiplied with.
    pub score_scale: f64,
    /// How queries grow with their position; none where they do not.
    pub query_growth: Option<QueryGrowth>,
}

/// Rotated queries at position `p` are multiplied with `1 + weight · ln(1 + ⌊p / step⌋)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryGrowth {
    /// How much they grow.
    pub weight: f64,
    /// Positions of one factor; it is 1 for the first so many.
    pub step: f64,
}

impl QueryGrowth {
    /// The factor of a position.
    pub fn at(&self, position: i64) -> f64 {
        1.0 + self.weight * (1.0 + (position as f64 / self.step).floor()).ln()
    }
}

/// How a block's MLP is computed: `down(activation(gate(x)) · up(x))`.
#[derive(Debug, Clone, PartialEq)]
pub struct MlpSpec {
    /// Width of the activation; of one expert where there are experts.
    pub intermediate_size: i64,
    /// Applied to the gate projection.
    pub activation: Activation,
    /// How tokens are sent to experts; none for a dense MLP.
    pub experts: Option<ExpertsSpec>,
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, an approximation of `x · Φ(x)`.
    GeluTanh,
}

/// The layers of a block that multiply one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputGroup {
    /// The tensor.
    pub input: LayerInput,
    /// The expert whose tokens it holds; none where it holds all tokens.
    pub expert: Option<u32>,
    /// The layers, as slots of the block.
    pub slots: Vec<usize>,
}

impl BlockSpec {
    /// The slot of the layer with this role; of the first such where there are experts.
    pub fn layer(&self, role: LayerRole) -> Option<usize> {
        self.layers.iter().position(|layer| layer.role == role)
    }

    /// The slots of a sub-block's layers.
    pub fn slots_of(&self, sub_block: SubBlock) -> impl Iterator<Item = usize> {
        let layers = self.layers.iter().enumerate();
        layers
            .filter(move |(_, layer)| layer.sub_block == sub_block)
            .map(|(slot, _)| slot)
    }

    /// The layers by the tensor that they multiply, in the order of their first layers.
    pub fn layers_by_input(&self) -> Vec<InputGroup> {
        let mut groups: Vec<InputGroup> = Vec::new();
        let mut places: HashMap<(LayerInput, Option<u32>), usize> = HashMap::new();
        for (slot, layer) in self.layers.iter().enumerate() {
            let place = *places.entry(layer.reads()).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.slots.push(slot),
                None => groups.push(InputGroup {
                    input: layer.input,
                    expert: layer.expert,
                    slots: vec![slot],
                }),
            }
        }
        groups
    }

    /// The norm that stands at a place.
    pub fn norm(&self, place: NormPlace) -> Option<&NormSpec> {
        self.norms.iter().find(|norm| norm.place == place)
    }

    /// Whether the block has a sub-block.
    pub fn has(&self, sub_block: SubBlock) -> bool {
        match sub_block {
            SubBlock::Attention => self.attention.is_some(),
            SubBlock::Mlp => self.mlp.is_some(),
        }
    }

    /// Removes a sub-block with its layers and norms.
    pub fn remove(&mut self, sub_block: SubBlock) {
        self.layers.retain(|layer| layer.sub_block != sub_block);
        self.norms
            .retain(|norm| norm.place.sub_block() != Some(sub_block));
        match sub_block {
            SubBlock::Attention => self.attention = None,
            SubBlock::Mlp => self.mlp = None,
        }
    }

    /// Makes the MLP `width` wide.
    pub fn set_mlp_width(&mut self, width: i64) {
        if let Some(mlp) = &mut self.mlp {
            mlp.intermediate_size = width;
        }
        for layer in &mut self.layers {
            match layer.role {
                LayerRole::Gate | LayerRole::Up => layer.out_features = width,
                LayerRole::Down => layer.in_features = width,
                _ => {}
            }
        }
    }

    /// Number of weights of the block's linear layers.
    pub fn num_weights(&self) -> u64 {
        self.layers.iter().map(LayerSpec::num_weights).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::small;
    use super::*;

    fn block() -> BlockSpec {
        small::biased().blocks.swap_remove(0)
    }

    #[test]
    fn layers_that_read_one_tensor_are_a_group() {
        let slots = |block: &BlockSpec| -> Vec<Vec<usize>> {
            let groups = block.layers_by_input().into_iter();
            groups.map(|group| group.slots).collect()
        };
        let mut block = block();
        assert_eq!(slots(&block), [vec![0, 1, 2], vec![3], vec![4, 5], vec![6]]);
        block.layers[6].expert = Some(1);
        let mut other = block.layers[6].clone();
        other.expert = Some(0);
        block.layers.push(other);
        assert_eq!(slots(&block)[3..], [vec![6], vec![7]]);
    }

    #[test]
    fn a_block_without_attention_and_with_a_narrow_mlp() {
        let mut block = block();
        block.remove(SubBlock::Attention);
        block.set_mlp_width(2);
        let shapes = block
            .layers
            .iter()
            .map(|it| [it.out_features, it.in_features]);
        assert_eq!(shapes.collect::<Vec<_>>(), [[2, 8], [2, 8], [8, 2]]);
        assert_eq!(block.layer(LayerRole::Query), None);
        assert_eq!(block.layer(LayerRole::Down), Some(2));
        assert_eq!(block.num_weights(), 48);
    }
}
