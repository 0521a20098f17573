//! A block's sub-blocks in libtorch's own operators, which autograd can follow: what gradients are
//! computed with.
//!
//! The numbers are those of the fused kernels up to rounding; a test compares them.

use evopress_search::genotype::WeightId;
use evopress_tensor::rotate_on_device;
use tch::{Kind, Tensor};

use crate::error::Result;
use crate::model::Model;

/// A sub-block as it ran. Layers are in the order of their slots: q, k, v, o of an attention; gate,
/// up, down of an MLP.
pub struct Traced {
    /// By layer, `[T, K]`.
    pub inputs: Vec<Tensor>,
    /// By layer, `[T, N]`, but for the last: its output is `added`.
    pub outputs: Vec<Tensor>,
    /// What the sub-block adds to the stream, `[T, D]` in f32.
    pub added: Tensor,
}

impl Model {
    /// The attention of a block on the `stream [T, D]` (f32) of sequences of `length` tokens;
    /// `weights` are those of q, k, v and o, in any dtype.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    ///
    /// # Panics
    /// Where the block has no attention.
    pub fn traced_attention(
        &self,
        block_idx: usize,
        stream: &Tensor,
        length: i64,
        weights: &[Tensor],
    ) -> Result<Traced> {
        let attention = self.blocks[block_idx].attention.as_ref();
        let attention = attention.expect("an attention that runs is there");
        let normed = attention.norm.traced(stream, weights[0].kind())?;
        let mut outputs = Vec::with_capacity(3);
        let mut first_row = 0;
        for weight in &weights[..3] {
            let bias = match &attention.projection_bias {
                Some(bias) => Some(bias.f_narrow(0, first_row, weight.size()[0])?),
                None => None,
            };
            first_row += weight.size()[0];
            outputs.push(linear(&normed, weight, bias.as_ref())?);
        }
        let shape = attention.shape;
        let (heads, kv_heads) = (shape.num_heads as i64, shape.num_kv_heads as i64);
        let dim = shape.head_dim as i64;
        let by_head = |output: &Tensor, heads: i64| -> Result<Tensor> {
            let heads = output.f_view([-1, length, heads, dim])?;
            Ok(heads.f_transpose(1, 2)?)
        };
        let (cos, sin) = self.rope_of(block_idx).rows(length)?;
        let queries = rotate_on_device(&by_head(&outputs[0], heads)?, &cos, &sin)?;
        let keys = rotate_on_device(&by_head(&outputs[1], kv_heads)?, &cos, &sin)?;
        // Each key and value head serves a group of query heads.
        let repeated =
            |tensor: &Tensor| tensor.f_repeat_interleave_self_int(heads / kv_heads, 1, heads);
        let attended = causal_attention(
            &queries,
            &repeated(&keys)?,
            &repeated(&by_head(&outputs[2], kv_heads)?)?,
        )?;
        let attended = attended.f_transpose(1, 2)?.f_reshape([-1, heads * dim])?;
        let added = linear(&attended, &weights[3], attention.output_bias.as_ref())?;
        let shared = || normed.shallow_clone();
        Ok(Traced {
            inputs: vec![shared(), shared(), shared(), attended],
            outputs,
            added: added.f_to_kind(Kind::Float)?,
        })
    }

    /// The MLP of a block on `stream [T, D]` (f32); `weights` are those of gate, up and down, in
    /// any dtype.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    ///
    /// # Panics
    /// Where the block has no MLP.
    pub fn traced_mlp(
        &self,
        block_idx: usize,
        stream: &Tensor,
        weights: &[Tensor],
    ) -> Result<Traced> {
        let mlp = self.blocks[block_idx].mlp.as_ref();
        let mlp = mlp.expect("an MLP that runs is there");
        let normed = mlp.norm.traced(stream, weights[0].kind())?;
        let bias = |idx: usize| mlp.gate_up_biases.as_ref().map(|biases| &biases[idx]);
        let outputs = vec![
            linear(&normed, &weights[0], bias(0))?,
            linear(&normed, &weights[1], bias(1))?,
        ];
        let activated = outputs[0].f_silu()?.f_mul(&outputs[1])?;
        let added = linear(&activated, &weights[2], mlp.down_bias.as_ref())?;
        Ok(Traced {
            inputs: vec![normed.shallow_clone(), normed, activated],
            outputs,
            added: added.f_to_kind(Kind::Float)?,
        })
    }

    /// The final norm of `stream [T, D]`, in f32.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn traced_finish(&self, stream: &Tensor) -> Result<Tensor> {
        self.final_norm.traced(stream, Kind::Float)
    }

    /// A layer's weight `[N, K]` in libtorch's layout and any dtype.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    pub fn plain_weight(
        &self,
        layer_idx: usize,
        level: Option<WeightId>,
        kind: Kind,
    ) -> Result<Tensor> {
        self.weights.plain(layer_idx, level, kind)
    }
}

fn linear(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let bias = bias.map(|bias| bias.f_to_kind(weight.kind())).transpose()?;
    Ok(input.f_linear(weight, bias.as_ref())?)
}

/// Causal attention of `[B, heads, L, d]`. On a GPU by plain products, a sequence at a time: the
/// fused kernels there add up a gradient in whatever order their blocks end, so that a search would
/// not be the same twice.
fn causal_attention(queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
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
