//! What a block has beside the weights of its linear layers: norms in f32, and biases.

use evopress_source::ModelSpec;
use evopress_source::spec::{
    Activation, AttentionSpec, BlockSpec, GatedSlots, LayerRole, LayerSpec, NormPlace, QueryGrowth,
};
use evopress_tensor as tensor;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::experts::Experts;
use crate::norm::{Norm, Read};
use crate::sub_block::Ends;

/// What a block needs for each of its sub-blocks.
pub(crate) struct Block {
    pub(crate) attention: Option<Attention>,
    pub(crate) mlp: Option<Mlp>,
}

pub(crate) struct Attention {
    pub(crate) ends: Ends,
    /// Of q, k, v and o.
    pub(crate) slots: Vec<usize>,
    pub(crate) shape: tensor::AttentionShape,
    query_growth: Option<QueryGrowth>,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    /// Of q, k and v together.
    pub(crate) projection_bias: Option<Tensor>,
    pub(crate) output_bias: Option<Tensor>,
}

/// What a block's MLP has beside the weights of its linear layers.
pub(crate) struct Mlp {
    pub(crate) ends: Ends,
    pub(crate) activation: tensor::Activation,
    /// What all tokens go through: the dense MLP, or the shared expert.
    pub(crate) dense: Option<Gated>,
    pub(crate) experts: Option<Experts>,
}

/// A gated MLP that all tokens go through.
pub(crate) struct Gated {
    pub(crate) slots: GatedSlots,
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
        let attention = match &spec.attention {
            Some(attention) => Some(Attention {
                slots: attention_slots(spec),
                ends: Ends::read(
                    spec,
                    [NormPlace::BeforeAttention, NormPlace::AfterAttention],
                    norm,
                )?,
                shape: shape(attention),
                query_growth: attention.query_growth,
                query_norm: norm(NormPlace::Query)?,
                key_norm: norm(NormPlace::Key)?,
                projection_bias: bias(&[LayerRole::Query, LayerRole::Key, LayerRole::Value])?,
                output_bias: bias(&[LayerRole::Output])?,
            }),
            None => None,
        };
        let mlp = match &spec.mlp {
            Some(mlp) => {
                let gate_up = (bias(&[LayerRole::Gate])?, bias(&[LayerRole::Up])?);
                let down_bias = bias(&[LayerRole::Down])?;
                let dense = spec.gated_slots(None).map(|slots| Gated {
                    slots,
                    gate_up_biases: gate_up.0.zip(gate_up.1).map(<[Tensor; 2]>::from),
                    down_bias,
                });
                Some(Mlp {
                    ends: Ends::read(spec, [NormPlace::BeforeMlp, NormPlace::AfterMlp], norm)?,
                    activation: activation(mlp.activation),
                    dense,
                    experts: Experts::read(model, block_idx, kind, read)?,
                })
            }
            None => None,
        };
        Ok(Self { attention, mlp })
    }

    /// Another handle to this block's tensors.
    pub(crate) fn share(&self) -> Self {
        let share = |bias: &Option<Tensor>| bias.as_ref().map(Tensor::shallow_clone);
        let attention = self.attention.as_ref().map(|it| Attention {
            slots: it.slots.clone(),
            ends: it.ends.share(),
            shape: it.shape,
            query_growth: it.query_growth,
            query_norm: it.query_norm.as_ref().map(Norm::share),
            key_norm: it.key_norm.as_ref().map(Norm::share),
            projection_bias: share(&it.projection_bias),
            output_bias: share(&it.output_bias),
        });
        let mlp = self.mlp.as_ref().map(Mlp::share);
        Self { attention, mlp }
    }
}

impl Mlp {
    pub(crate) fn share(&self) -> Self {
        Self {
            ends: self.ends.share(),
            activation: self.activation,
            dense: self.dense.as_ref().map(Gated::share),
            experts: self.experts.as_ref().map(Experts::share),
        }
    }
}

impl Gated {
    fn share(&self) -> Self {
        let biases = self.gate_up_biases.as_ref();
        Self {
            slots: self.slots,
            gate_up_biases: biases.map(|both| both.each_ref().map(Tensor::shallow_clone)),
            down_bias: self.down_bias.as_ref().map(Tensor::shallow_clone),
        }
    }
}

impl Attention {
    /// What happens to queries and keys of sequences of `length` tokens; `rotation` is of the
    /// block's rotary table.
    pub(crate) fn heads<'a>(
        &'a self,
        length: i64,
        rotation: Option<&'a [Tensor; 2]>,
    ) -> tensor::Heads<'a> {
        tensor::Heads {
            length,
            query_norm: self.query_norm.as_ref().map(Norm::of_heads),
            key_norm: self.key_norm.as_ref().map(Norm::of_heads),
            rotation: rotation.map(<[Tensor; 2]>::each_ref),
        }
    }

    /// What queries of sequences of `length` tokens are multiplied with, `[length, 1]` in f32; none
    /// where that is 1.
    pub(crate) fn query_factors(&self, length: i64, device: Device) -> Result<Option<Tensor>> {
        let Some(growth) = self.query_growth.filter(|it| length as f64 > it.step) else {
            return Ok(None);
        };
        let factors: Vec<f32> = (0..length).map(|it| growth.at(it) as f32).collect();
        let factors = Tensor::f_from_slice(&factors)?.f_view([length, 1])?;
        Ok(Some(factors.f_to_device(device)?))
    }

    /// Width of all query heads.
    pub(crate) fn query_width(&self) -> i64 {
        (self.shape.num_heads * self.shape.head_dim) as i64
    }
}

fn attention_slots(spec: &BlockSpec) -> Vec<usize> {
    use LayerRole::{Key, Output, Query, Value};
    let roles = [Query, Key, Value, Output].into_iter();
    roles.filter_map(|role| spec.layer(role)).collect()
}

fn shape(spec: &AttentionSpec) -> tensor::AttentionShape {
    tensor::AttentionShape {
        num_heads: spec.num_heads as usize,
        num_kv_heads: spec.num_kv_heads as usize,
        head_dim: spec.head_dim as usize,
        window: spec.window.map(|window| window as usize),
        score_scale: spec.score_scale,
        score_cap: spec.score_cap,
    }
}

fn activation(activation: Activation) -> tensor::Activation {
    match activation {
        Activation::Silu => tensor::Activation::Silu,
        Activation::GeluTanh => tensor::Activation::GeluTanh,
    }
}
