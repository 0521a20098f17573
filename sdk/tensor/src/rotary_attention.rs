//! Rotary position embedding and causal attention of a block.
//!
//! On the CPU in bf16 by a kernel of our own ([`causal_attention`]); elsewhere by libtorch's.

use half::bf16;
use tch::{Kind, Tensor};

use crate::buffer::{Buffer, Stored, slice};
use crate::causal_attention::{AttentionShape, causal_attention};
use crate::dispatch::packed_backend;
use crate::elementwise;
use crate::error::Result;
use crate::gemm::Backend;

/// Rotary embedding and causal attention: `qkv [B·L, (heads + 2·kv)·d] → [B·L, heads·d]` in `kind`,
/// for sequences of `cos.size()[0]` tokens; `cos` and `sin` are `[L, d/2]` in f32. `qkv` is f32 on
/// the CPU, so that queries and keys are rounded once.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn rotary_attention(
    qkv: &Tensor,
    kind: Kind,
    shape: AttentionShape,
    cos: &Tensor,
    sin: &Tensor,
) -> Result<Tensor> {
    if qkv.device().is_cuda() {
        let [queries, keys, values] = heads(qkv, shape, cos.size()[0], |rotated| {
            rotate_on_device(rotated, cos, sin)
        })?;
        return attend(&queries, &keys, &values, shape);
    }
    let backend = packed_backend(kind, qkv.device(), shape.head_dim as i64);
    match (kind, backend) {
        (Kind::BFloat16, Some(backend)) => {
            let rotated = rotate::<bf16>(qkv, shape, cos, sin)?;
            packed_attention(&rotated, shape, cos.size()[0], backend)
        }
        (Kind::BFloat16, None) => {
            let rotated = rotate::<bf16>(qkv, shape, cos, sin)?.into_tensor();
            plain_attention(&rotated, shape, cos.size()[0])
        }
        _ => {
            let rotated = rotate::<f32>(qkv, shape, cos, sin)?.into_tensor();
            plain_attention(&rotated, shape, cos.size()[0])
        }
    }
}

/// Causal attention of rotated heads on a packed back end, a sequence of `length` tokens at a time.
fn packed_attention(
    rotated: &Buffer<bf16>,
    shape: AttentionShape,
    length: i64,
    backend: Backend,
) -> Result<Tensor> {
    let (stride, width) = (shape.row_width(), shape.num_heads * shape.head_dim);
    let total = rotated.len() / stride;
    let mut out = Buffer::<bf16>::new(&[total as i64, width as i64])?;
    let sequences = rotated.chunks(length as usize * stride);
    for (sequence, out) in sequences.zip(out.chunks_mut(length as usize * width)) {
        causal_attention(sequence, shape, backend, out)?;
    }
    Ok(out.into_tensor())
}

/// Causal attention of rotated heads by libtorch.
fn plain_attention(rotated: &Tensor, shape: AttentionShape, length: i64) -> Result<Tensor> {
    let as_they_are = |heads: &Tensor| Ok(heads.shallow_clone());
    let [queries, keys, values] = heads(rotated, shape, length, as_they_are)?;
    attend(&queries, &keys, &values, shape)
}

/// Queries, keys and values `[B, heads, L, d]` of rows that hold all of them; `rotate` is applied
/// to queries and keys.
fn heads(
    qkv: &Tensor,
    shape: AttentionShape,
    length: i64,
    rotate: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<[Tensor; 3]> {
    let (heads, kv) = (shape.num_heads as i64, shape.num_kv_heads as i64);
    let by_head = qkv
        .f_view([
            qkv.size()[0] / length,
            length,
            heads + 2 * kv,
            shape.head_dim as i64,
        ])?
        .f_transpose(1, 2)?;
    let rotated = rotate(&by_head.f_narrow(1, 0, heads + kv)?)?;
    Ok([
        rotated.f_narrow(1, 0, heads)?,
        rotated.f_narrow(1, heads, kv)?,
        by_head.f_narrow(1, heads + kv, kv)?,
    ])
}

fn attend(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    shape: AttentionShape,
) -> Result<Tensor> {
    let is_grouped = shape.num_heads != shape.num_kv_heads;
    let no_mask = None::<Tensor>;
    let attended = Tensor::f_scaled_dot_product_attention(
        queries, keys, values, no_mask, 0.0, true, None, is_grouped,
    )?;
    let width = (shape.num_heads * shape.head_dim) as i64;
    Ok(attended.f_transpose(1, 2)?.f_reshape([-1, width])?)
}

/// Rotates the queries and keys of every row on their way to the dtype of the run; values are only
/// rounded.
fn rotate<E: Stored>(
    qkv: &Tensor,
    shape: AttentionShape,
    cos: &Tensor,
    sin: &Tensor,
) -> Result<Buffer<E>> {
    let mut out = Buffer::<E>::new(&qkv.size())?;
    let num_rotated = shape.num_heads + shape.num_kv_heads;
    let (cos, sin, half) = (slice(cos), slice(sin), shape.head_dim / 2);
    let row_width = shape.row_width();
    elementwise::rotate(slice(qkv), row_width, num_rotated, cos, sin, half, &mut out);
    Ok(out)
}

/// Rotary embedding of `heads [B, heads, L, d]` in libtorch's own operators, which autograd can
/// follow.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn rotate_on_device(heads: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let halves = heads.f_to_kind(Kind::Float)?.f_chunk(2, -1)?;
    let first = halves[0].f_mul(cos)?.f_sub(&halves[1].f_mul(sin)?)?;
    let second = halves[1].f_mul(cos)?.f_add(&halves[0].f_mul(sin)?)?;
    Ok(Tensor::f_cat(&[first, second], -1)?.f_to_kind(heads.kind())?)
}
