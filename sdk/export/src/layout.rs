//! Which tensors the artifact has, and where each comes from.

use std::collections::HashMap;

use evopress_plugin::{Encoding, SubBlock};

use crate::experts;
use evopress_search::genotype::{Candidate, Dropped, SearchSpace, WeightId};
use evopress_source::Source;
use evopress_source::spec::{LayerSpec, ModelSpec, StoredRows, TensorPart, TensorSpec};

/// The tensors of the artifact, in the order of the forward pass.
pub(super) struct Layout<'a> {
    /// The source's.
    pub(super) spec: &'a ModelSpec,
    pub(super) tensors: Vec<OutTensor<'a>>,
    pub(super) blocks: Vec<KeptBlock>,
}

/// A block of the artifact.
pub(super) struct KeptBlock {
    /// In the source.
    pub(super) idx: usize,
    /// Whether a format that has blocks without an attention goes without this one's.
    pub(super) is_without_attention: bool,
    /// Whether a format that has blocks without an MLP goes without this one's.
    pub(super) is_without_mlp: bool,
    /// Experts of the source's block that are left out, by rising number.
    pub(super) left_out: Vec<u32>,
}

pub(super) struct OutTensor<'a> {
    /// In the artifact.
    pub(super) name: String,
    /// The name of the tensor in the artifact's files that it is, or whose rows it is.
    pub(super) file_name: String,
    /// The block of the artifact that it belongs to.
    pub(super) block_idx: Option<usize>,
    /// In the source.
    pub(super) source: &'a TensorSpec,
    /// The layer of the source whose weight or bias it is.
    pub(super) layer: Option<&'a LayerSpec>,
    pub(super) shape: Vec<usize>,
    /// The rows of the source's tensor that are left, where not all are.
    pub(super) rows: Option<Vec<i64>>,
    /// The compressed weight that takes the dense one's place.
    pub(super) level: Option<WeightId>,
    /// How many of its elements do something.
    num_working: u64,
    /// Whether it is written as zeros.
    pub(super) is_zero: bool,
    /// The half of a block that it belongs to, where a format that has blocks without that half
    /// goes without it.
    pub(super) omissible: Option<SubBlock>,
}

impl OutTensor<'_> {
    /// Whether it is the weight of a linear layer.
    pub(super) fn is_layer_weight(&self) -> bool {
        matches!(self.source.part, TensorPart::Weight { .. })
    }

    /// Whether it is a weight or a bias of a linear layer that does nothing.
    pub(super) fn is_idle_weight(&self) -> bool {
        self.num_working == 0 && self.layer.is_some()
    }
}

impl<'a> Layout<'a> {
    pub(super) fn new(source: &'a Source, space: &SearchSpace, candidate: &Candidate) -> Self {
        let spec = source.spec();
        let num_kept = num_kept_weights(space);
        let blocks = kept_blocks(&candidate.dropped);
        let out = |tensor| out_tensor(spec, candidate, &num_kept, &blocks, tensor);
        Self {
            tensors: source.tensors().iter().filter_map(out).collect(),
            spec,
            blocks,
        }
    }

    /// The blocks of the source that are left.
    pub(super) fn kept_blocks(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.idx).collect()
    }

    /// As [`num_experts`], of the layout's blocks.
    pub(super) fn num_experts(&self) -> Vec<u32> {
        num_experts(self.spec, &self.blocks)
    }

    /// The tensors as files hold them.
    pub(super) fn stacks(&self) -> Vec<Stack<'_>> {
        let mut stacks: Vec<Stack<'_>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for tensor in &self.tensors {
            let place = places.entry(&tensor.file_name).or_insert(stacks.len());
            match stacks.get_mut(*place) {
                Some(stack) => stack.parts.push(tensor),
                None => stacks.push(Stack {
                    parts: vec![tensor],
                }),
            }
        }
        stacks
    }

    /// Elements that do something.
    pub(super) fn num_parameters(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.num_working).sum()
    }
}

/// A tensor of a file: one of the model's, or the rows of several, one below the other.
pub(super) struct Stack<'a> {
    /// At least one, in the order of their rows.
    pub(super) parts: Vec<&'a OutTensor<'a>>,
}

impl<'a> Stack<'a> {
    /// Hugging Face's name.
    pub(super) fn name_in_file(&self) -> &'a str {
        &self.parts[0].file_name
    }

    /// Rows of all parts, and what else their shapes have.
    pub(super) fn shape(&self) -> Vec<usize> {
        let mut shape = self.parts[0].shape.clone();
        shape[0] = self.parts.iter().map(|part| part.shape[0]).sum();
        match &self.parts[0].source.stored {
            // Experts are an extent of their own.
            Some(StoredRows { shape: stored, .. }) if stored.len() > shape.len() => {
                let of_expert = stored[1] as usize;
                vec![shape[0] / of_expert, of_expert, shape[1]]
            }
            _ => shape,
        }
    }

    /// Whether it is the weight of a linear layer, or of several.
    pub(super) fn is_layer_weight(&self) -> bool {
        self.parts[0].is_layer_weight()
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

/// What becomes of a tensor of the source; none where its block is dropped whole.
fn out_tensor<'a>(
    spec: &'a ModelSpec,
    candidate: &Candidate,
    num_kept: &HashMap<WeightId, u64>,
    blocks: &[KeptBlock],
    source: &'a TensorSpec,
) -> Option<OutTensor<'a>> {
    let shape: Vec<usize> = source.shape.iter().map(|&it| it as usize).collect();
    let level = match source.part {
        TensorPart::Weight { block_idx, slot } => {
            let layer_idx = spec.first_layer(block_idx) + slot;
            candidate.weights.get(layer_idx).copied().flatten()
        }
        _ => None,
    };
    let all = shape.iter().product::<usize>() as u64;
    let kept = level.and_then(|id| num_kept.get(&id).copied());
    let layer = spec.layer_of(source.part);
    let mut tensor = OutTensor {
        name: source.name.clone(),
        file_name: source.name_in_files().to_owned(),
        block_idx: None,
        source,
        layer,
        shape,
        rows: None,
        level,
        num_working: kept.unwrap_or(all),
        is_zero: false,
        omissible: None,
    };
    if let Some(block_idx) = source.part.block_idx() {
        let new_idx = blocks.iter().position(|block| block.idx == block_idx)?;
        let (old, new) = (spec.block_name(block_idx), spec.block_name(new_idx));
        let left_out = &blocks[new_idx].left_out;
        let expert = layer.and_then(|layer| layer.expert);
        let number = match expert {
            Some(expert) => Some(experts::number(expert, left_out)?),
            None => None,
        };
        let renamed = |name: &str| {
            let within = name.strip_prefix(&old)?;
            let within = match (expert, number) {
                (Some(expert), Some(number)) => experts::renamed(within, expert, number),
                _ => within.to_owned(),
            };
            Some(format!("{new}{within}"))
        };
        tensor.name = renamed(&source.name)?;
        tensor.file_name = renamed(source.name_in_files())?;
        tensor.block_idx = Some(new_idx);
        if let (TensorPart::Router { .. }, false) = (source.part, left_out.is_empty()) {
            let rows = experts::kept(tensor.shape[0] as u32, left_out);
            tensor.num_working = all / tensor.shape[0] as u64 * rows.len() as u64;
            tensor.shape[0] = rows.len();
            tensor.rows = Some(rows);
        }
        let sub_block = spec.sub_block_of(source.part)?;
        if candidate.dropped.contains(block_idx, sub_block) {
            tensor.num_working = 0;
            tensor.is_zero = layer.is_some_and(|layer| layer.role.is_last_of_sub_block());
            tensor.omissible = blocks[new_idx].is_without(sub_block).then_some(sub_block);
        }
    }
    Some(tensor)
}

/// The blocks that are not dropped whole. The first of them keeps its attention in every format,
/// with an output projection of zeros where it is dropped: vLLM begins the residual stream there,
/// llama.cpp takes the width of the heads from there.
pub(super) fn kept_blocks(dropped: &Dropped) -> Vec<KeptBlock> {
    let halves = dropped.attention.iter().zip(&dropped.mlp).enumerate();
    let kept = halves.filter(|(_, (attention, mlp))| !(**attention && **mlp));
    let blocks = kept
        .enumerate()
        .map(|(new_idx, (idx, (attention, mlp)))| KeptBlock {
            idx,
            is_without_attention: *attention && new_idx > 0,
            is_without_mlp: *mlp,
            left_out: dropped.experts[idx].clone(),
        });
    blocks.collect()
}

/// How many experts each of these blocks of a model has; 0 where its MLP is dense.
pub(super) fn num_experts(spec: &ModelSpec, blocks: &[KeptBlock]) -> Vec<u32> {
    let count = |block: &KeptBlock| {
        let experts = spec.blocks[block.idx].experts();
        experts.map_or(0, |it| it.num_experts - block.left_out.len() as u32)
    };
    blocks.iter().map(count).collect()
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
            experts: vec![vec![]; 5],
        };
        let blocks = kept_blocks(&dropped).into_iter();
        let blocks = blocks.map(|it| (it.idx, it.is_without_attention, it.is_without_mlp));
        let expected = [(1, false, false), (2, false, true), (3, true, false)];
        assert_eq!(blocks.collect::<Vec<_>>(), expected);
    }
}
