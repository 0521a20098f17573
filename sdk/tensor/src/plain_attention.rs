//! Causal attention in libtorch's own operators, which autograd can follow.

use tch::{Device, Kind, Tensor};

use crate::causal_attention::AttentionShape;
use crate::error::Result;

/// Causal attention of queries `[B, heads, L, d]`, keys and values `[B, kv, L, d]`: `[B·L,
/// heads·d]`.
///
/// Where a gradient is asked for on a GPU, by plain products, a sequence at a time: the fused
/// kernels there add up a gradient in whatever order their blocks end, so that a search would not
/// be the same twice.
pub(crate) fn plain_attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
) -> Result<Tensor> {
    let attended = match shape.score_cap {
        Some(cap) => capped(queries, keys, values, shape, cap)?,
        None if queries.device().is_cuda() && queries.requires_grad() => {
            by_sequence(queries, keys, values, shape)?
        }
        None if queries.requires_grad() => {
            let repeated = [repeated(keys, shape)?, repeated(values, shape)?];
            fused(queries, [&repeated[0], &repeated[1]], shape, false)?
        }
        None => {
            let is_grouped = shape.num_heads != shape.num_kv_heads;
            fused(queries, [keys, values], shape, is_grouped)?
        }
    };
    let width = (shape.num_heads * shape.head_dim) as i64;
    Ok(attended.f_transpose(1, 2)?.f_reshape([-1, width])?)
}

fn fused(
    queries: &Tensor,
    [keys, values]: [&Tensor; 2],
    shape: AttentionShape,
    is_grouped: bool,
) -> Result<Tensor> {
    let mask = window_mask(queries, shape)?;
    // The causal mask alone has a faster way than a mask as a tensor.
    let is_causal = mask.is_none();
    let scale = Some(shape.score_scale);
    Ok(Tensor::f_scaled_dot_product_attention(
        queries, keys, values, mask, 0.0, is_causal, scale, is_grouped,
    )?)
}

fn by_sequence(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
) -> Result<Tensor> {
    let (keys, values) = (repeated(keys, shape)?, repeated(values, shape)?);
    let mask = window_mask(queries, shape)?;
    let of_sequence = |idx: i64| -> Result<Tensor> {
        let part = |all: &Tensor| all.f_narrow(0, idx, 1);
        let (attended, _) = Tensor::f_internal_scaled_dot_product_attention_math(
            &part(queries)?,
            &part(&keys)?,
            &part(&values)?,
            mask.as_ref(),
            0.0,
            mask.is_none(),
            None,
            Some(shape.score_scale),
            false,
        )?;
        Ok(attended)
    };
    let count = queries.size()[0];
    let attended: Vec<Tensor> = (0..count).map(of_sequence).collect::<Result<_>>()?;
    Ok(Tensor::f_cat(&attended, 0)?)
}

/// With scores that are capped; they are f32.
fn capped(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
    cap: f64,
) -> Result<Tensor> {
    let (keys, values) = (repeated(keys, shape)?, repeated(values, shape)?);
    let products = queries
        .f_matmul(&keys.f_transpose(-2, -1)?)?
        .f_to_kind(Kind::Float)?;
    let scores = products
        .f_mul_scalar(shape.score_scale / cap)?
        .f_tanh()?
        .f_mul_scalar(cap)?;
    let length = queries.size()[2];
    let hidden = visible(length, shape.window, queries.device())?.f_logical_not()?;
    let scores = scores.f_masked_fill(&hidden, f64::NEG_INFINITY)?;
    let weights = scores.f_softmax(-1, Kind::Float)?;
    Ok(weights.f_to_kind(values.kind())?.f_matmul(&values)?)
}

/// Keys or values `[B, heads, L, d]`: each serves a group of query heads.
fn repeated(heads: &Tensor, shape: AttentionShape) -> Result<Tensor> {
    let group = shape.num_heads / shape.num_kv_heads;
    if group == 1 {
        return Ok(heads.shallow_clone());
    }
    Ok(heads.f_repeat_interleave_self_int(group as i64, 1, shape.num_heads as i64)?)
}

/// Which keys each query sees, where a window hides some from it.
fn window_mask(queries: &Tensor, shape: AttentionShape) -> Result<Option<Tensor>> {
    let length = queries.size()[2];
    match shape.window {
        Some(window) if (window as i64) < length => {
            visible(length, shape.window, queries.device()).map(Some)
        }
        _ => Ok(None),
    }
}

/// `[L, L]`: whether a query (row) sees a key (column).
fn visible(length: i64, window: Option<usize>, device: Device) -> Result<Tensor> {
    let causal = Tensor::f_ones([length, length], (Kind::Bool, device))?.f_tril(0)?;
    match window {
        Some(window) => Ok(causal.f_triu(1 - window as i64)?),
        None => Ok(causal),
    }
}
