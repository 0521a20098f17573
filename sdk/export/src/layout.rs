//! Which tensors the artifact has, and where each comes from.

use std::collections::HashMap;

use evopress_plugin::{Encoding, SubBlock};

use crate::genotype::{Candidate, Dropped, SearchSpace, WeightId};
use crate::source::{Source, half_of};

/// The tensors of the artifact, in the order of the forward pass.
pub(super) struct Layout {
    pub(super) tensors: Vec<OutTensor>,
    pub(super) blocks: Vec<KeptBlock>,
}

/// A block of the artifact.
pub(super) struct KeptBlock {
    /// In the source.
    pub(super) idx: usize,
    /// Whether a format that has blocks without an attention goes without this one's, and the same for the MLP.
    pub(super) is_without_attention: bool,
    pub(super) is_without_mlp: bool,
}

pub(super) struct OutTensor {
    /// In the artifact.
    pub(super) name: String,
    /// In the source.
    pub(super) source_name: String,
    pub(super) shape: Vec<usize>,
    /// The compressed weight that takes the dense one's place.
    pub(super) level: Option<WeightId>,
    /// How many of its elements do something.
    num_working: u64,
    /// Whether it is written as zeros.
    pub(super) is_zero: bool,
    /// The half of a block that it belongs to, where a format that has blocks without that half goes without it.
    pub(super) omissible: Option<SubBlock>,
}

impl OutTensor {
    /// Whether it is a weight or a bias of a linear layer that does nothing.
    pub(super) fn is_idle_weight(&self) -> bool {
        self.num_working == 0 && self.name.contains("_proj.")
    }
}

impl Layout {
    pub(super) fn new(source: &Source, space: &SearchSpace, candidate: &Candidate) -> Self {
        let dropped = &candidate.dropped;
        let num_kept = num_kept_weights(space);
        let layers: HashMap<String, usize> = source
            .layer_names()
            .into_iter()
            .enumerate()
            .map(|(idx, name)| (format!("{name}.weight"), idx))
            .collect();
        let blocks = kept_blocks(dropped);
        let mut tensors = Vec::new();
        for (source_name, shape) in source.tensor_shapes() {
            let shape: Vec<usize> = shape.iter().map(|&extent| extent as usize).collect();
            let level = layers
                .get(source_name)
                .and_then(|&idx| *candidate.weights.get(idx)?);
            let all = shape.iter().product::<usize>() as u64;
            let kept = level.and_then(|id| num_kept.get(&id).copied());
            let mut tensor = OutTensor {
                name: source_name.to_owned(),
                source_name: source_name.to_owned(),
                shape,
                level,
                num_working: kept.unwrap_or(all),
                is_zero: false,
                omissible: None,
            };
            if let Some((block_idx, sub_block)) = half_of(source_name) {
                let Some(new_idx) = blocks.iter().position(|block| block.idx == block_idx) else {
                    continue;
                };
                let old = format!("model.layers.{block_idx}.");
                tensor.name = source_name.replacen(&old, &format!("model.layers.{new_idx}."), 1);
                let is_output =
                    source_name.contains(".o_proj.") || source_name.contains(".down_proj.");
                if dropped.contains(block_idx, sub_block) {
                    tensor.num_working = 0;
                    tensor.is_zero = is_output;
                    tensor.omissible = blocks[new_idx].is_without(sub_block).then_some(sub_block);
                }
            }
            tensors.push(tensor);
        }
        Self { tensors, blocks }
    }

    /// The blocks of the source that are left.
    pub(super) fn kept_blocks(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.idx).collect()
    }

    /// Elements that do something.
    pub(super) fn num_parameters(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.num_working).sum()
    }
}

impl KeptBlock {
    fn is_without(&self, sub_block: SubBlock) -> bool {
        match sub_block {
            SubBlock::Attention => self.is_without_attention,
            SubBlock::Mlp => self.is_without_mlp,
        }
    }
}

/// The blocks that are not dropped whole. The first of them keeps its attention in every format, with an output projection of zeros where it
/// is dropped: vLLM begins the residual stream there, llama.cpp takes the width of the heads from there.
pub(super) fn kept_blocks(dropped: &Dropped) -> Vec<KeptBlock> {
    let halves = dropped.attention.iter().zip(&dropped.mlp).enumerate();
    let kept = halves.filter(|(_, (attention, mlp))| !(**attention && **mlp));
    let blocks = kept
        .enumerate()
        .map(|(new_idx, (idx, (attention, mlp)))| KeptBlock {
            idx,
            is_without_attention: *attention && new_idx > 0,
            is_without_mlp: *mlp,
        });
    blocks.collect()
}

/// Weights that are left in each pruned one.
fn num_kept_weights(space: &SearchSpace) -> HashMap<WeightId, u64> {
    let mut kept = HashMap::new();
    for method_idx in 0..space.num_methods() {
        for layer in space.variants(method_idx) {
            for (variant_idx, variant) in layer.variants.iter().enumerate() {
                if let Encoding::Sparse { num_values, .. } = variant.encoding {
                    let id = WeightId {
                        method_idx: method_idx as u16,
                        layer_idx: layer.layer_idx,
                        variant_idx: variant_idx as u16,
                    };
                    kept.insert(id, num_values);
                }
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_without_what_is_dropped_but_for_the_first_attention() {
        let dropped = Dropped {
            attention: vec![true, true, false, true, true],
            mlp: vec![true, false, true, false, true],
        };
        let blocks = kept_blocks(&dropped).into_iter();
        let blocks = blocks.map(|it| (it.idx, it.is_without_attention, it.is_without_mlp));
        let expected = [(1, false, false), (2, false, true), (3, true, false)];
        assert_eq!(blocks.collect::<Vec<_>>(), expected);
    }
}
