//! Artifacts whose blocks lack an attention or an MLP, or have a narrower MLP than the others: what is not stored is read as zeros, which is
//! what a half that is not there adds.

use evopress_plugin::SubBlock;
use tch::{Device, Kind, Tensor};

use super::SourceError;
use super::config::{Expected, ModelConfig};

/// What is stored of a model's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reduced {
    pub(super) blocks: Vec<StoredBlock>,
}

/// What is stored of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredBlock {
    pub(super) attention: bool,
    /// 0 where there is no MLP.
    pub(super) mlp_width: i64,
}

impl Reduced {
    /// A tensor as it is stored; none where its half of the block is not there.
    pub(super) fn stored(&self, expected: &Expected, config: &ModelConfig) -> Option<Expected> {
        let mut stored = expected.clone();
        let Some((block_idx, sub_block)) = half_of(&expected.name) else {
            return Some(stored);
        };
        // A configuration with another number of blocks is refused when it is read.
        let block = self.blocks[block_idx];
        match (sub_block, block.mlp_width) {
            (SubBlock::Attention, _) => block.attention.then_some(stored),
            (SubBlock::Mlp, 0) => None,
            (SubBlock::Mlp, width) => {
                if width != config.intermediate_size {
                    stored.shape = with_mlp_width(&expected.name, &expected.shape, width);
                }
                Some(stored)
            }
        }
    }
}

/// `tensor` in the corner of zeros of `shape`.
pub(super) fn padded(tensor: Tensor, shape: &[i64]) -> Result<Tensor, SourceError> {
    if tensor.size() == shape {
        return Ok(tensor);
    }
    let whole = Tensor::f_zeros(shape, (tensor.kind(), tensor.device()))?;
    let mut corner = whole.shallow_clone();
    for (axis, extent) in tensor.size().into_iter().enumerate() {
        corner = corner.f_narrow(axis as i64, 0, extent)?;
    }
    corner.f_copy_(&tensor)?;
    Ok(whole)
}

/// A tensor that is not stored.
pub(super) fn zeros(shape: &[i64]) -> Result<Tensor, SourceError> {
    Ok(Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?)
}

/// Block and half that a tensor belongs to, with the norm before that half: `model.layers.3.mlp.up_proj.weight` → `(3, Mlp)`.
pub fn half_of(name: &str) -> Option<(usize, SubBlock)> {
    let (block_idx, layer) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let sub_block = match layer.split('.').next()? {
        "input_layernorm" | "self_attn" => SubBlock::Attention,
        "post_attention_layernorm" | "mlp" => SubBlock::Mlp,
        _ => return None,
    };
    Some((block_idx.parse().ok()?, sub_block))
}

/// The shape of a tensor, were the MLP `width` wide.
pub fn with_mlp_width<T: Copy>(name: &str, shape: &[T], width: T) -> Vec<T> {
    let mut shape = shape.to_vec();
    if name.contains(".gate_proj.") || name.contains(".up_proj.") {
        shape[0] = width;
    } else if name.ends_with(".down_proj.weight") {
        shape[1] = width;
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_know_their_half() {
        let check = |name: &str, expected| assert_eq!(half_of(name), expected, "{name}");
        let (attention, mlp) = (SubBlock::Attention, SubBlock::Mlp);
        check("model.layers.3.mlp.up_proj.weight", Some((3, mlp)));
        check(
            "model.layers.12.self_attn.o_proj.bias",
            Some((12, attention)),
        );
        check(
            "model.layers.0.input_layernorm.weight",
            Some((0, attention)),
        );
        check(
            "model.layers.0.post_attention_layernorm.weight",
            Some((0, mlp)),
        );
        check("model.norm.weight", None);
    }

    #[test]
    fn a_narrower_mlp_is_one_with_zeros() {
        let check = |name: &str, shape: &[i64], expected: &[i64]| {
            assert_eq!(with_mlp_width(name, shape, 2), expected, "{name}");
        };
        check("model.layers.0.mlp.gate_proj.weight", &[8, 3], &[2, 3]);
        check("model.layers.0.mlp.up_proj.bias", &[8], &[2]);
        check("model.layers.0.mlp.down_proj.weight", &[3, 8], &[3, 2]);
        check("model.layers.0.mlp.down_proj.bias", &[3], &[3]);
        check("model.layers.0.post_attention_layernorm.weight", &[3], &[3]);
        let narrow = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0]).view([2, 2]);
        let whole = padded(narrow, &[2, 3]).unwrap();
        let expected = Tensor::from_slice(&[1.0_f32, 2.0, 0.0, 3.0, 4.0, 0.0]).view([2, 3]);
        assert_eq!(whole, expected);
    }
}
