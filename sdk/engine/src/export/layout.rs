//! Which tensors the artifact has, and where each comes from.

use std::collections::HashMap;

use evopress_plugin::Encoding;

use crate::genotype::{Candidate, SearchSpace, WeightId};
use crate::source::Source;

/// The tensors of the artifact, in the order of the forward pass.
pub(super) struct Layout {
    pub(super) tensors: Vec<OutTensor>,
    pub(super) kept_blocks: Vec<usize>,
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
        let num_blocks = source.config().num_blocks;
        let kept_blocks: Vec<usize> = (0..num_blocks)
            .filter(|&idx| !(dropped.attention[idx] && dropped.mlp[idx]))
            .collect();
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
            };
            if let Some((block_idx, layer)) = block_of(source_name) {
                let Some(new_idx) = kept_blocks.iter().position(|&idx| idx == block_idx) else {
                    continue;
                };
                tensor.name = format!("model.layers.{new_idx}.{layer}");
                let attention =
                    layer.starts_with("self_attn.") || layer.starts_with("input_layernorm.");
                let is_idle = if attention {
                    dropped.attention[block_idx]
                } else {
                    dropped.mlp[block_idx]
                };
                let is_output =
                    layer.starts_with("self_attn.o_proj.") || layer.starts_with("mlp.down_proj.");
                tensor.is_zero = is_idle && is_output;
                if is_idle {
                    tensor.num_working = 0;
                }
            }
            tensors.push(tensor);
        }
        Self {
            tensors,
            kept_blocks,
        }
    }

    /// Elements that do something.
    pub(super) fn num_parameters(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.num_working).sum()
    }
}

/// `model.layers.3.mlp.up_proj.weight` → `(3, "mlp.up_proj.weight")`.
fn block_of(name: &str) -> Option<(usize, &str)> {
    let (idx, layer) = name.strip_prefix("model.layers.")?.split_once('.')?;
    Some((idx.parse().ok()?, layer))
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
