//! What a block has beside the weights of its linear layers: norms in f32, and biases.

use evopress_source::ModelSpec;
use evopress_source::spec::{LayerRole, LayerSpec, NormPlace};
use evopress_tensor as tensor;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::norm::{Norm, Read};

/// What a block needs for each of its sub-blocks.
pub(crate) struct Block {
    pub(crate) attention: Option<Attention>,
    pub(crate) mlp: Option<Mlp>,
}

pub(crate) struct Attention {
    pub(crate) norm: Norm,
    pub(crate) shape: tensor::AttentionShape,
    /// Of q, k and v together.
    pub(crate) projection_bias: Option<Tensor>,
    pub(crate) output_bias: Option<Tensor>,
}

pub(crate) struct Mlp {
    pub(crate) norm: Norm,
    pub(crate) gate_up_biases: Option<[Tensor; 2]>,
    pub(crate) down_bias: Option<Tensor>,
}

impl Block {
    /// Reads a block by the names of its tensors.
    pub(crate) fn read(
        model: &ModelSpec,
        block_idx: usize,
        (kind, device): (Kind, Device),
        read: Read<'_>,
    ) -> Result<Self> {
        let spec = &model.blocks[block_idx];
        let name = |name: &str| format!("{}.{name}", model.block_name(block_idx));
        let norm = |place: NormPlace| -> Result<Option<Norm>> {
            let Some(norm) = spec.norm(place) else {
                return Ok(None);
            };
            Norm::read(norm, &name(&norm.name), read).map(Some)
        };
        // One bias for layers side by side that all have one.
        let bias = |roles: &[LayerRole]| -> Result<Option<Tensor>> {
            let slots = roles.iter().filter_map(|&role| spec.layer(role));
            let layers: Vec<&LayerSpec> = slots.map(|slot| &spec.layers[slot]).collect();
            if layers.is_empty() || !layers.iter().any(|layer| layer.has_bias) {
                return Ok(None);
            }
            let parts = layers.iter().map(|layer| match layer.has_bias {
                true => read(&format!("{}.bias", name(&layer.name)), kind),
                false => Ok(Tensor::f_zeros([layer.out_features], (kind, device))?),
            });
            let parts: Vec<Tensor> = parts.collect::<Result<_>>()?;
            let joined = Tensor::f_cat(&parts, 0)?;
            let depth = layers[0].in_features;
            Ok(Some(tensor::bias(&joined, kind, device, depth)?))
        };
        let attention = match (&spec.attention, norm(NormPlace::BeforeAttention)?) {
            (Some(attention), Some(norm)) => Some(Attention {
                norm,
                shape: tensor::AttentionShape {
                    num_heads: attention.num_heads as usize,
                    num_kv_heads: attention.num_kv_heads as usize,
                    head_dim: attention.head_dim as usize,
                },
                projection_bias: bias(&[LayerRole::Query, LayerRole::Key, LayerRole::Value])?,
                output_bias: bias(&[LayerRole::Output])?,
            }),
            _ => None,
        };
        let mlp = match (&spec.mlp, norm(NormPlace::BeforeMlp)?) {
            (Some(_), Some(norm)) => {
                let gate_up = (bias(&[LayerRole::Gate])?, bias(&[LayerRole::Up])?);
                Some(Mlp {
                    norm,
                    gate_up_biases: gate_up.0.zip(gate_up.1).map(<[Tensor; 2]>::from),
                    down_bias: bias(&[LayerRole::Down])?,
                })
            }
            _ => None,
        };
        Ok(Self { attention, mlp })
    }

    /// Another handle to this block's tensors.
    pub(crate) fn share(&self) -> Self {
        let share = |bias: &Option<Tensor>| bias.as_ref().map(Tensor::shallow_clone);
        let attention = self.attention.as_ref().map(|it| Attention {
            norm: it.norm.share(),
            shape: it.shape,
            projection_bias: share(&it.projection_bias),
            output_bias: share(&it.output_bias),
        });
        let mlp = self.mlp.as_ref().map(|it| {
            let biases = it.gate_up_biases.as_ref();
            Mlp {
                norm: it.norm.share(),
                gate_up_biases: biases.map(|both| both.each_ref().map(Tensor::shallow_clone)),
                down_bias: share(&it.down_bias),
            }
        });
        Self { attention, mlp }
    }
}
