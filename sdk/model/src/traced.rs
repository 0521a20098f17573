//! A block's sub-blocks in libtorch's own operators, which autograd can follow: what gradients are computed with.
//!
//! The numbers are those of the fused kernels up to rounding; a test compares them.

use tch::{Kind, Tensor};

use super::Model;
use crate::error::Result;
use crate::kernels;

/// A sub-block as it ran. Layers are in the order of the block: q, k, v, o of an attention; gate, up, down of an MLP.
pub(crate) struct Traced {
    /// By layer, `[T, K]`.
    pub(crate) inputs: Vec<Tensor>,
    /// By layer, `[T, N]`, but for the last: its output is `added`.
    pub(crate) outputs: Vec<Tensor>,
    /// What the sub-block adds to the stream, `[T, D]` in f32.
    pub(crate) added: Tensor,
}

impl Model {
    /// The attention of a block on the `stream [T, D]` (f32) of sequences of `length` tokens; `weights` are those of q, k, v and o, in any
    /// dtype.
    pub(crate) fn traced_attention(
        &self,
        block_idx: usize,
        stream: &Tensor,
        length: i64,
        weights: &[Tensor],
    ) -> Result<Traced> {
        let (block, config) = (&self.blocks[block_idx], &self.config);
        let kind = weights[0].kind();
        let normed =
            kernels::plain_rms_norm(stream, &block.attention_norm, config.rms_norm_eps, kind)?;
        let mut outputs = Vec::with_capacity(3);
        let mut first_row = 0;
        for weight in &weights[..3] {
            let bias = match &block.qkv_bias {
                Some(bias) => Some(bias.f_narrow(0, first_row, weight.size()[0])?),
                None => None,
            };
            first_row += weight.size()[0];
            outputs.push(linear(&normed, weight, bias.as_ref())?);
        }
        let (heads, kv_heads, dim) = (config.num_heads, config.num_kv_heads, config.head_dim);
        let by_head = |output: &Tensor, heads: i64| -> Result<Tensor> {
            let heads = output.f_view([-1, length, heads, dim])?;
            Ok(heads.f_transpose(1, 2)?)
        };
        let (cos, sin) = self.rope.rows(config, length, self.device)?;
        let queries = kernels::rotate_on_device(&by_head(&outputs[0], heads)?, &cos, &sin)?;
        let keys = kernels::rotate_on_device(&by_head(&outputs[1], kv_heads)?, &cos, &sin)?;
        // Each key and value head serves a group of query heads.
        let repeated =
            |tensor: &Tensor| tensor.f_repeat_interleave_self_int(heads / kv_heads, 1, heads);
        let attended = attention(
            &queries,
            &repeated(&keys)?,
            &repeated(&by_head(&outputs[2], kv_heads)?)?,
        )?;
        let attended = attended.f_transpose(1, 2)?.f_reshape([-1, heads * dim])?;
        let added = linear(&attended, &weights[3], block.output_bias.as_ref())?;
        let shared = || normed.shallow_clone();
        Ok(Traced {
            inputs: vec![shared(), shared(), shared(), attended],
            outputs,
            added: added.f_to_kind(Kind::Float)?,
        })
    }

    /// The MLP of a block on `stream [T, D]` (f32); `weights` are those of gate, up and down, in any dtype.
    pub(crate) fn traced_mlp(
        &self,
        block_idx: usize,
        stream: &Tensor,
        weights: &[Tensor],
    ) -> Result<Traced> {
        let block = &self.blocks[block_idx];
        let kind = weights[0].kind();
        let eps = self.config.rms_norm_eps;
        let normed = kernels::plain_rms_norm(stream, &block.mlp_norm, eps, kind)?;
        let bias = |idx: usize| block.gate_up_biases.as_ref().map(|biases| &biases[idx]);
        let outputs = vec![
            linear(&normed, &weights[0], bias(0))?,
            linear(&normed, &weights[1], bias(1))?,
        ];
        let activated = outputs[0].f_silu()?.f_mul(&outputs[1])?;
        let added = linear(&activated, &weights[2], block.down_bias.as_ref())?;
        Ok(Traced {
            inputs: vec![normed.shallow_clone(), normed, activated],
            outputs,
            added: added.f_to_kind(Kind::Float)?,
        })
    }

    /// The final norm of `stream [T, D]`, in f32.
    pub(crate) fn traced_finish(&self, stream: &Tensor) -> Result<Tensor> {
        let eps = self.config.rms_norm_eps;
        kernels::plain_rms_norm(stream, &self.final_norm, eps, Kind::Float)
    }

    /// A layer's weight `[N, K]` in libtorch's layout and any dtype.
    pub(crate) fn plain_weight(
        &self,
        layer_idx: usize,
        level: Option<crate::genotype::WeightId>,
        kind: Kind,
    ) -> Result<Tensor> {
        self.weights.plain(layer_idx, level, kind)
    }
}

fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let bias = bias.map(|bias| bias.f_to_kind(weight.kind())).transpose()?;
    Ok(input.f_linear(weight, bias.as_ref())?)
}

/// Causal attention of `[B, heads, L, d]`. On a GPU by plain products, a sequence at a time: the fused kernels there add up a gradient in
/// whatever order their blocks end, so that a search would not be the same twice.
fn attention(queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
    let no_mask = None::<Tensor>;
    if !queries.device().is_cuda() {
        return Ok(Tensor::f_scaled_dot_product_attention(
            queries, keys, values, no_mask, 0.0, true, None, false,
        )?);
    }
    let of_sequence = |idx: i64| -> Result<Tensor> {
        let part = |all: &Tensor| all.f_narrow(0, idx, 1);
        let (attended, _) = Tensor::f_internal_scaled_dot_product_attention_math(
            &part(queries)?,
            &part(keys)?,
            &part(values)?,
            None::<Tensor>,
            0.0,
            true,
            None,
            None,
            false,
        )?;
        Ok(attended)
    };
    let attended: Vec<Tensor> = (0..queries.size()[0])
        .map(of_sequence)
        .collect::<Result<_>>()?;
    Ok(Tensor::f_cat(&attended, 0)?)
}
