//! What a block has beside the weights of its linear layers.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::kernels;
use crate::source::ModelConfig;

/// Norms in f32, and biases.
pub(super) struct Block {
    pub(super) attention_norm: Tensor,
    pub(super) mlp_norm: Tensor,
    /// Of q, k and v together.
    pub(super) qkv_bias: Option<Tensor>,
    pub(super) output_bias: Option<Tensor>,
    pub(super) gate_up_biases: Option<[Tensor; 2]>,
    pub(super) down_bias: Option<Tensor>,
}

impl Block {
    /// Reads a block by the names of its tensors.
    pub(super) fn read(
        config: &ModelConfig,
        block_idx: usize,
        (kind, device): (Kind, Device),
        read: &dyn Fn(&str, Kind) -> Result<Tensor>,
    ) -> Result<Self> {
        let name = |layer: &str| format!("model.layers.{block_idx}.{layer}");
        let bias = |layers: &[&str], depth: i64| -> Result<Tensor> {
            let parts = layers
                .iter()
                .map(|layer| read(&format!("{}.bias", name(layer)), kind));
            let parts: Vec<Tensor> = parts.collect::<Result<_>>()?;
            kernels::bias(&Tensor::f_cat(&parts, 0)?, kind, device, depth)
        };
        let where_biased = |has_bias: bool, layers: &[&str], depth| {
            has_bias.then(|| bias(layers, depth)).transpose()
        };
        let (hidden, mlp) = (config.hidden_size, config.intermediate_size);
        let attended = config.num_heads * config.head_dim;
        let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        let gate = where_biased(config.mlp_bias, &["mlp.gate_proj"], hidden)?;
        let up = where_biased(config.mlp_bias, &["mlp.up_proj"], hidden)?;
        Ok(Self {
            attention_norm: read(&name("input_layernorm.weight"), Kind::Float)?,
            mlp_norm: read(&name("post_attention_layernorm.weight"), Kind::Float)?,
            qkv_bias: where_biased(config.attention_bias, &qkv, hidden)?,
            output_bias: where_biased(config.attention_bias, &["self_attn.o_proj"], attended)?,
            gate_up_biases: gate.zip(up).map(|(gate, up)| [gate, up]),
            down_bias: where_biased(config.mlp_bias, &["mlp.down_proj"], mlp)?,
        })
    }

    /// Another handle to the same tensors.
    pub(super) fn share(&self) -> Self {
        let share = |bias: &Option<Tensor>| bias.as_ref().map(Tensor::shallow_clone);
        Self {
            attention_norm: self.attention_norm.shallow_clone(),
            mlp_norm: self.mlp_norm.shallow_clone(),
            qkv_bias: share(&self.qkv_bias),
            output_bias: share(&self.output_bias),
            gate_up_biases: self
                .gate_up_biases
                .as_ref()
                .map(|biases| biases.each_ref().map(Tensor::shallow_clone)),
            down_bias: share(&self.down_bias),
        }
    }
}
