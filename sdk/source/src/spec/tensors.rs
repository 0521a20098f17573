//! The tensors that a model consists of.

use evopress_plugin::SubBlock;

use super::layer::LayerSpec;
use super::model::ModelSpec;

/// A tensor that a model's files must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Hugging Face's name: `model.layers.3.self_attn.q_proj.weight`.
    pub name: String,
    /// Rows first: `[out_features, in_features]`.
    pub shape: Vec<i64>,
    /// What it is in the model.
    pub part: TensorPart,
}

/// What a tensor is in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorPart {
    /// The embedding.
    Embedding,
    /// The weight of a norm of a block.
    Norm {
        /// The block.
        block_idx: usize,
        /// The norm, an index into the block's norms.
        norm_idx: usize,
    },
    /// The weight of a linear layer.
    Weight {
        /// The block.
        block_idx: usize,
        /// The layer, an index into the block's layers.
        slot: usize,
    },
    /// The bias of a linear layer.
    Bias {
        /// The block.
        block_idx: usize,
        /// The layer, an index into the block's layers.
        slot: usize,
    },
    /// The weight of the final norm.
    FinalNorm,
    /// The head, where it is not the embedding.
    Head,
}

impl TensorPart {
    /// The block that the tensor belongs to.
    pub fn block_idx(self) -> Option<usize> {
        match self {
            Self::Norm { block_idx, .. }
            | Self::Weight { block_idx, .. }
            | Self::Bias { block_idx, .. } => Some(block_idx),
            Self::Embedding | Self::FinalNorm | Self::Head => None,
        }
    }

    /// The tensor at the same place of another block.
    #[must_use]
    pub fn in_block(self, block_idx: usize) -> Self {
        match self {
            Self::Norm { norm_idx, .. } => Self::Norm {
                block_idx,
                norm_idx,
            },
            Self::Weight { slot, .. } => Self::Weight { block_idx, slot },
            Self::Bias { slot, .. } => Self::Bias { block_idx, slot },
            Self::Embedding | Self::FinalNorm | Self::Head => self,
        }
    }
}

impl ModelSpec {
    /// Every tensor of the model. A block's norms come before its layers; a tied head is not listed.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut tensors = Vec::new();
        let mut push = |name: String, shape: Vec<i64>, part| {
            tensors.push(TensorSpec { name, shape, part });
        };
        let vocabulary = vec![self.vocab_size, self.hidden_size];
        push(
            format!("{}.weight", self.embedding.name),
            vocabulary.clone(),
            TensorPart::Embedding,
        );
        for (block_idx, block) in self.blocks.iter().enumerate() {
            let prefix = self.block_name(block_idx);
            for (norm_idx, norm) in block.norms.iter().enumerate() {
                let part = TensorPart::Norm {
                    block_idx,
                    norm_idx,
                };
                push(
                    format!("{prefix}.{}.weight", norm.name),
                    vec![norm.width],
                    part,
                );
            }
            for (slot, layer) in block.layers.iter().enumerate() {
                push(
                    format!("{prefix}.{}.weight", layer.name),
                    vec![layer.out_features, layer.in_features],
                    TensorPart::Weight { block_idx, slot },
                );
                if layer.has_bias {
                    push(
                        format!("{prefix}.{}.bias", layer.name),
                        vec![layer.out_features],
                        TensorPart::Bias { block_idx, slot },
                    );
                }
            }
        }
        let norm = &self.final_norm;
        push(
            format!("{}.weight", norm.name),
            vec![norm.width],
            TensorPart::FinalNorm,
        );
        if !self.head.tied {
            push(
                format!("{}.weight", self.head.name),
                vocabulary,
                TensorPart::Head,
            );
        }
        tensors
    }

    /// Number of weights, norms and biases of the whole model; a tied head counts once.
    pub fn num_parameters(&self) -> u64 {
        let tensors = self.tensors();
        let numbers = tensors.iter().map(|it| it.shape.iter().product::<i64>());
        numbers.sum::<i64>() as u64
    }

    /// The layer whose weight or bias a tensor is.
    pub fn layer_of(&self, part: TensorPart) -> Option<&LayerSpec> {
        match part {
            TensorPart::Weight { block_idx, slot } | TensorPart::Bias { block_idx, slot } => {
                Some(&self.blocks[block_idx].layers[slot])
            }
            _ => None,
        }
    }

    /// The half of a block that a tensor belongs to. A norm belongs to the half that it stands before.
    pub fn sub_block_of(&self, part: TensorPart) -> Option<SubBlock> {
        match part {
            TensorPart::Norm {
                block_idx,
                norm_idx,
            } => self.blocks[block_idx].norms[norm_idx].place.sub_block(),
            _ => self.layer_of(part).map(|layer| layer.sub_block),
        }
    }
}
