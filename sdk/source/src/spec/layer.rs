//! A linear layer of a block.

use evopress_plugin::SubBlock;

/// A linear layer `y = W x + b`, with `W` of shape `[out_features, in_features]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpec {
    /// Hugging Face's name within the block: `self_attn.q_proj`.
    pub name: String,
    /// What the layer computes.
    pub role: LayerRole,
    /// The expert that it belongs to; none in attention and in a dense MLP.
    pub expert: Option<u32>,
    /// The tensor that it multiplies.
    pub input: LayerInput,
    /// The half of the block that it belongs to.
    pub sub_block: SubBlock,
    /// Rows of the weight.
    pub out_features: i64,
    /// Columns of the weight.
    pub in_features: i64,
    /// Whether it adds a bias `[out_features]`.
    pub has_bias: bool,
    /// Where its weight (and bias) lies in Hugging Face's files, if not in a tensor of its own.
    pub stacked: Option<Stacked>,
}

/// A place among the rows of a tensor that several layers share on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stacked {
    /// Hugging Face's name of the shared tensor within the block, without `.weight`:
    /// `self_attn.qkv_proj`.
    pub name: String,
    /// The sizes of the shared tensor but for the last one, which is the layer's number of inputs:
    /// `[rows]`, or `[experts, rows]`.
    pub rows: Vec<i64>,
    /// The layer's first row, counted over all of `rows`.
    pub first_row: i64,
}

impl LayerSpec {
    /// A layer of attention or of a dense MLP; `shape` is `[out_features, in_features]`.
    pub fn new(name: &str, role: LayerRole, shape: [i64; 2], has_bias: bool) -> Self {
        Self {
            name: name.to_owned(),
            role,
            expert: None,
            input: role.input(),
            sub_block: role.sub_block(),
            out_features: shape[0],
            in_features: shape[1],
            has_bias,
            stacked: None,
        }
    }

    /// The layer as one of an expert.
    #[must_use]
    pub fn of_expert(self, expert: u32) -> Self {
        Self {
            expert: Some(expert),
            ..self
        }
    }

    /// The tensor that it multiplies, and the expert whose tokens that holds.
    pub fn reads(&self) -> (LayerInput, Option<u32>) {
        (self.input, self.expert)
    }

    /// Number of weights, without the bias.
    pub fn num_weights(&self) -> u64 {
        (self.out_features * self.in_features) as u64
    }
}

/// What a linear layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerRole {
    /// Queries of all heads.
    Query,
    /// Keys of all key/value heads.
    Key,
    /// Values of all key/value heads.
    Value,
    /// What attention adds to the residual stream.
    Output,
    /// The half of a gated MLP that the activation function is applied to.
    Gate,
    /// The half of a gated MLP that is multiplied with the activated one.
    Up,
    /// What the MLP adds to the residual stream.
    Down,
}

impl LayerRole {
    /// The tensor that a layer of this role multiplies.
    pub fn input(self) -> LayerInput {
        match self {
            Self::Query | Self::Key | Self::Value => LayerInput::AttentionInput,
            Self::Output => LayerInput::AttentionHeads,
            Self::Gate | Self::Up => LayerInput::MlpInput,
            Self::Down => LayerInput::MlpActivation,
        }
    }

    /// The half of the block that a layer of this role belongs to.
    pub fn sub_block(self) -> SubBlock {
        self.input().sub_block()
    }

    /// Whether the layer's output is added to the residual stream.
    pub fn is_last_of_sub_block(self) -> bool {
        matches!(self, Self::Output | Self::Down)
    }
}

/// A tensor within a block that linear layers multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerInput {
    /// The residual stream after the norm before attention: `[T, hidden_size]`.
    AttentionInput,
    /// The weighted values of all heads: `[T, num_heads · head_dim]`.
    AttentionHeads,
    /// The residual stream after the norm before the MLP: `[T, hidden_size]`.
    MlpInput,
    /// The activated gate times the up projection: `[T, intermediate_size]`.
    MlpActivation,
}

impl LayerInput {
    /// The half of the block in which the tensor arises.
    pub fn sub_block(self) -> SubBlock {
        match self {
            Self::AttentionInput | Self::AttentionHeads => SubBlock::Attention,
            Self::MlpInput | Self::MlpActivation => SubBlock::Mlp,
        }
    }
}
