//! What a method gets to know of a model: its blocks and their linear layers.

/// Which half of a transformer block a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubBlock {
    /// The projections around the attention.
    Attention,
    /// The projections of the MLP, or of its experts.
    Mlp,
}

/// A linear layer `y = W x + b` with `W` of shape `[out_features, in_features]`.
///
/// Nothing follows from the position of a layer among the others or from its name: what a method or
/// the engine has to know is in the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerOutline {
    /// Hugging Face's weight name without `.weight`: `model.layers.3.self_attn.q_proj`.
    pub name: String,
    /// The block, counted from 0.
    pub block_idx: u32,
    /// The half of the block.
    pub sub_block: SubBlock,
    /// The expert of the MLP that the layer belongs to, counted from 0. None where all tokens go
    /// through the layer.
    pub expert_idx: Option<u32>,
    /// The activations that the layer reads, counted from 0 over the whole model. Layers with the
    /// same number read the same activations (query, key and value; gate and up) and have equally
    /// many columns. An expert reads the activations of the tokens that are routed to it.
    pub input_idx: u32,
    /// Rows of the weight.
    pub out_features: u64,
    /// Columns of the weight.
    pub in_features: u64,
    /// Whether the layer adds a bias of shape `[out_features]`. Methods leave it as it is.
    pub has_bias: bool,
}

impl LayerOutline {
    /// Number of weights, without the bias.
    pub fn num_weights(&self) -> u64 {
        self.out_features * self.in_features
    }
}

/// The blocks of a model and their linear layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOutline {
    /// Number of transformer blocks.
    pub num_blocks: u32,
    /// The linear layers of all blocks, in the order of the model.
    pub layers: Vec<LayerOutline>,
    /// Bytes of one weight in the run's dtype: 2 for bf16, 4 for f32.
    pub bytes_per_weight: u32,
}
