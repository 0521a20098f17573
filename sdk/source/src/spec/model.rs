//! A whole model.

use std::ops::Range;

use super::block::{AttentionSpec, BlockSpec, MlpSpec, NormSpec};
use super::layer::{LayerRole, LayerSpec};

/// A decoder-only transformer, whatever file format it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The family, as in Hugging Face's `model_type`: `llama`.
    pub architecture: String,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Rows of the embedding and of the head.
    pub vocab_size: i64,
    /// Longest sequence that the model was made for, in tokens.
    pub max_position_embeddings: i64,
    /// How token ids become the residual stream.
    pub embedding: EmbeddingSpec,
    /// What Hugging Face's names of the blocks begin with: `model.layers`.
    pub blocks_name: String,
    /// The blocks in the order of the forward pass.
    pub blocks: Vec<BlockSpec>,
    /// The norm after the last block.
    pub final_norm: NormSpec,
    /// How hidden states become logits.
    pub head: HeadSpec,
    /// Begin-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Padding token.
    pub pad_token_id: Option<u32>,
}

/// The embedding: a row of `[vocab_size, hidden_size]` for each token.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingSpec {
    /// Hugging Face's name without `.weight`: `model.embed_tokens`.
    pub name: String,
    /// What rows are multiplied with.
    pub scale: Option<f64>,
}

/// The head: `[vocab_size, hidden_size]` times the final hidden state.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadSpec {
    /// Hugging Face's name without `.weight`: `lm_head`.
    pub name: String,
    /// Whether the head is the embedding; then there is no tensor of its name.
    pub tied: bool,
    /// What logits are multiplied with.
    pub scale: Option<f64>,
    /// `c`, where logits are capped by `c · tanh(logit / c)`.
    pub cap: Option<f64>,
}

/// A linear layer and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Counted over all blocks.
    pub layer_idx: usize,
    /// The block, counted from 0.
    pub block_idx: usize,
    /// Counted within the block.
    pub slot: usize,
    /// What it is.
    pub spec: &'a LayerSpec,
}

/// Sentences on tokens that are left out, at most.
const MAX_NOTES: usize = 5;

impl ModelSpec {
    /// Leaves out special tokens that have no row in the embedding. Returns a sentence on each of
    /// the first ones, and one on how many more there are.
    pub(crate) fn leave_out_ids_beyond_the_vocabulary(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        let size = self.vocab_size;
        let mut is_there = |role: &str, id: u32| {
            let is_there = i64::from(id) < size;
            if !is_there {
                notes.push(format!(
                    "the {role} token {id} is not among the model's {size} tokens and is left out"
                ));
            }
            is_there
        };
        self.bos_token_id = self.bos_token_id.filter(|&id| is_there("first", id));
        self.eos_token_ids.retain(|&id| is_there("last", id));
        self.pad_token_id = self.pad_token_id.filter(|&id| is_there("padding", id));
        let num_more = notes.len().saturating_sub(MAX_NOTES);
        if num_more > 0 {
            notes.truncate(MAX_NOTES);
            notes.push(format!("{num_more} more such tokens are left out"));
        }
        notes
    }

    /// Number of blocks.
    pub fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Number of linear layers of all blocks.
    pub fn num_layers(&self) -> usize {
        self.first_layer(self.blocks.len())
    }

    /// The index of a block's first layer; for the number of blocks, the number of layers.
    pub fn first_layer(&self, block_idx: usize) -> usize {
        let before = &self.blocks[..block_idx];
        before.iter().map(|block| block.layers.len()).sum()
    }

    /// The indices of a block's layers.
    pub fn layers_of(&self, block_idx: usize) -> Range<usize> {
        let first = self.first_layer(block_idx);
        first..first + self.blocks[block_idx].layers.len()
    }

    /// The index of the layer with this role in a block; of the first such where there are experts.
    pub fn layer_idx(&self, block_idx: usize, role: LayerRole) -> Option<usize> {
        let slot = self.blocks[block_idx].layer(role)?;
        Some(self.first_layer(block_idx) + slot)
    }

    /// The linear layers of all blocks, in the order of the forward pass.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        let of_blocks = self.blocks.iter().enumerate();
        let all = of_blocks.flat_map(|(block_idx, block)| {
            let of_block = block.layers.iter().enumerate();
            of_block.map(move |(slot, spec)| (block_idx, slot, spec))
        });
        all.enumerate()
            .map(|(layer_idx, (block_idx, slot, spec))| Layer {
                layer_idx,
                block_idx,
                slot,
                spec,
            })
    }

    /// A block's name: `model.layers.3`.
    pub fn block_name(&self, block_idx: usize) -> String {
        format!("{}.{block_idx}", self.blocks_name)
    }

    /// A layer's name without `.weight`: `model.layers.3.self_attn.q_proj`.
    pub fn layer_name(&self, layer: Layer<'_>) -> String {
        format!("{}.{}", self.block_name(layer.block_idx), layer.spec.name)
    }

    /// The names of all linear layers without `.weight`, in the order of the forward pass.
    pub fn layer_names(&self) -> Vec<String> {
        self.layers().map(|layer| self.layer_name(layer)).collect()
    }

    /// The attention of the first block that has one.
    pub fn first_attention(&self) -> Option<&AttentionSpec> {
        self.blocks.iter().find_map(|it| it.attention.as_ref())
    }

    /// The MLP of the first block that has one.
    pub fn first_mlp(&self) -> Option<&MlpSpec> {
        self.blocks.iter().find_map(|it| it.mlp.as_ref())
    }

    /// Number of weights of the linear layers of all blocks.
    pub fn num_weights(&self) -> u64 {
        self.blocks.iter().map(BlockSpec::num_weights).sum()
    }
}
