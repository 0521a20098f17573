//! The tensors that a model consists of.

use evopress_plugin::SubBlock;

use super::block::NormSpec;
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
    /// Where it lies in Hugging Face's files, if not in a tensor of this name.
    pub stored: Option<StoredRows>,
}

/// Some rows of a tensor of Hugging Face's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRows {
    /// The tensor's name: `model.layers.3.self_attn.qkv_proj.weight`.
    pub name: String,
    /// The tensor's shape. Its rows are counted over all sizes but the last one of a weight, and
    /// over all sizes of a bias.
    pub shape: Vec<i64>,
    /// The first of the rows.
    pub first_row: i64,
}

impl TensorSpec {
    /// The name of the tensor of Hugging Face's files that it is, or lies in.
    pub fn name_in_files(&self) -> &str {
        self.stored.as_ref().map_or(&self.name, |it| &it.name)
    }
}

impl StoredRows {
    /// The bytes of the rows, of all the tensor's `bytes`; `shape` is that of the rows.
    pub fn rows_of<'a>(&self, shape: &[i64], bytes: &'a [u8]) -> &'a [u8] {
        let numbers = self.shape.iter().product::<i64>();
        let num_rows = match shape {
            [_, columns] => numbers / columns,
            _ => numbers,
        };
        // Rows of quantized weights are whole blocks.
        let row_bytes = bytes.len() / num_rows as usize;
        let count = shape[0] as usize;
        &bytes[self.first_row as usize * row_bytes..][..count * row_bytes]
    }
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
    /// The weight of the router of a block's experts.
    Router {
        /// The block.
        block_idx: usize,
    },
    /// The weight of the gate of a block's shared expert.
    SharedGate {
        /// The block.
        block_idx: usize,
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
            | Self::Bias { block_idx, .. }
            | Self::Router { block_idx }
            | Self::SharedGate { block_idx } => Some(block_idx),
            Self::Embedding | Self::FinalNorm | Self::Head => None,
        }
    }
}

impl ModelSpec {
    /// Every tensor of the model. A block's norms and its router come before its layers; a tied
    /// head is not listed.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut tensors = Vec::new();
        let mut push = |name: String, shape: Vec<i64>, part| {
            tensors.push(TensorSpec {
                stored: self.stored(part, &shape),
                name,
                shape,
                part,
            });
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
            if let Some(experts) = block.experts() {
                push(
                    format!("{prefix}.{}.weight", experts.router),
                    vec![i64::from(experts.num_experts), self.hidden_size],
                    TensorPart::Router { block_idx },
                );
                if let Some(shared) = &experts.shared {
                    push(
                        format!("{prefix}.{}.weight", shared.gate),
                        vec![1, self.hidden_size],
                        TensorPart::SharedGate { block_idx },
                    );
                }
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

    /// Where a layer's weight or bias of this shape lies, if it shares a tensor with other layers.
    fn stored(&self, part: TensorPart, shape: &[i64]) -> Option<StoredRows> {
        let stacked = self.layer_of(part)?.stacked.as_ref()?;
        let block = self.block_name(part.block_idx()?);
        let ending = match part {
            TensorPart::Bias { .. } => "bias",
            _ => "weight",
        };
        let mut whole = stacked.rows.clone();
        whole.extend_from_slice(&shape[1..]);
        Some(StoredRows {
            name: format!("{block}.{}.{ending}", stacked.name),
            shape: whole,
            first_row: stacked.first_row,
        })
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

    /// The norm whose weight a tensor is.
    pub fn norm_of(&self, part: TensorPart) -> Option<&NormSpec> {
        match part {
            TensorPart::Norm {
                block_idx,
                norm_idx,
            } => Some(&self.blocks[block_idx].norms[norm_idx]),
            TensorPart::FinalNorm => Some(&self.final_norm),
            _ => None,
        }
    }

    /// The half of a block that a tensor belongs to. A norm belongs to the half that it stands
    /// before.
    pub fn sub_block_of(&self, part: TensorPart) -> Option<SubBlock> {
        match part {
            TensorPart::Norm {
                block_idx,
                norm_idx,
            } => self.blocks[block_idx].norms[norm_idx].place.sub_block(),
            TensorPart::Router { .. } | TensorPart::SharedGate { .. } => Some(SubBlock::Mlp),
            _ => self.layer_of(part).map(|layer| layer.sub_block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::small;
    use super::*;

    #[test]
    fn tensors_know_their_layer_and_their_half() {
        let spec = small::biased();
        let tensors = spec.tensors();
        let check = |name: &str, block_idx, sub_block, shape: &[i64]| {
            let tensor = tensors.iter().find(|it| it.name == name).unwrap();
            assert_eq!(tensor.part.block_idx(), block_idx, "{name}");
            assert_eq!(spec.sub_block_of(tensor.part), sub_block, "{name}");
            assert_eq!(tensor.shape, shape, "{name}");
        };
        let (attention, mlp) = (Some(SubBlock::Attention), Some(SubBlock::Mlp));
        check("model.layers.1.mlp.up_proj.weight", Some(1), mlp, &[24, 8]);
        check(
            "model.layers.0.self_attn.o_proj.bias",
            Some(0),
            attention,
            &[8],
        );
        check(
            "model.layers.0.self_attn.k_proj.bias",
            Some(0),
            attention,
            &[4],
        );
        check(
            "model.layers.0.input_layernorm.weight",
            Some(0),
            attention,
            &[8],
        );
        check(
            "model.layers.0.post_attention_layernorm.weight",
            Some(0),
            mlp,
            &[8],
        );
        check("model.norm.weight", None, None, &[8]);
        check("lm_head.weight", None, None, &[16, 8]);
        assert_eq!(tensors.len(), 3 + 2 * (2 + 14));
    }

    /// Queries of Phi-4-mini are three fifths of the rows of their tensor.
    #[test]
    fn rows_may_be_any_share_of_their_tensor() {
        let check = |whole: &[i64], first_row, shape: &[i64], expected: std::ops::Range<u8>| {
            let stored = StoredRows {
                name: String::new(),
                shape: whole.to_vec(),
                first_row,
            };
            let numbers = whole.iter().product::<i64>() as u8;
            let bytes: Vec<u8> = (0..numbers).collect();
            let expected: Vec<u8> = expected.collect();
            assert_eq!(stored.rows_of(shape, &bytes), expected, "{whole:?}");
        };
        check(&[10, 2], 0, &[6, 2], 0..12);
        check(&[10, 2], 6, &[2, 2], 12..16);
        check(&[10, 2], 8, &[2, 2], 16..20);
        check(&[2, 3, 2], 3, &[3, 2], 6..12);
        check(&[10], 6, &[2], 6..8);
    }

    #[test]
    fn layers_are_counted_over_all_blocks() {
        let mut spec = small::biased();
        spec.blocks[0].remove(SubBlock::Mlp);
        assert_eq!((spec.num_layers(), spec.first_layer(1)), (11, 4));
        assert_eq!(spec.layers_of(1), 4..11);
        let layers: Vec<(usize, usize)> = spec.layers().map(|it| (it.block_idx, it.slot)).collect();
        assert_eq!(layers[3..5], [(0, 3), (1, 0)]);
        assert_eq!(spec.layer_names()[10], "model.layers.1.mlp.down_proj");
    }
}
