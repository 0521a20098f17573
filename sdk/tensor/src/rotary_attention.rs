//! From projected queries, keys and values to what attention makes of them: head norms, rotation,
//! causal attention.
//!
//! On the CPU in bf16 by kernels of our own ([`causal_attention`]); elsewhere by libtorch's.

use half::bf16;
use tch::{Kind, Tensor};

use crate::buffer::{Buffer, Stored, slice};
use crate::causal_attention::{AttentionShape, causal_attention};
use crate::dispatch::packed_backend;
use crate::elementwise;
use crate::error::Result;
use crate::gemm::Backend;
use crate::norm::plain_rms_norm;
use crate::plain_attention::plain_attention;

/// What happens to queries and keys before they are multiplied.
pub struct Heads<'a> {
    /// Tokens of a sequence, L.
    pub length: i64,
    /// The norm of queries.
    pub query_norm: Option<HeadNorm<'a>>,
    /// The norm of keys.
    pub key_norm: Option<HeadNorm<'a>>,
    /// `cos` and `sin` of the rotation, `[L, r/2]` in f32, where the first `r` numbers of each head
    /// turn.
    pub rotation: Option<[&'a Tensor; 2]>,
}

/// A root-mean-square norm over each head, or over all heads together where it is so wide.
#[derive(Clone, Copy)]
pub struct HeadNorm<'a> {
    /// `[d]`, or `[heads·d]`, in f32.
    pub weight: &'a Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

/// Head norms, rotation and causal attention: `qkv [B·L, (heads + 2·kv)·d] → [B·L, heads·d]` in
/// `kind`. `qkv` is f32 on the CPU, so that queries and keys are rounded once.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn rotary_attention(
    qkv: Tensor,
    kind: Kind,
    shape: AttentionShape,
    heads: &Heads<'_>,
) -> Result<Tensor> {
    if qkv.device().is_cuda() {
        let widths = [shape.num_heads, shape.num_kv_heads, shape.num_kv_heads];
        let widths = widths.map(|count| (count * shape.head_dim) as i64);
        let parts = qkv.f_split_with_sizes(widths.as_slice(), -1)?;
        return plain_rotary_attention([&parts[0], &parts[1], &parts[2]], shape, heads);
    }
    let backend = packed_backend(kind, qkv.device(), shape.head_dim as i64);
    match (kind, backend) {
        (Kind::BFloat16, Some(backend)) => {
            let ready = on_cpu::<bf16>(qkv, shape, heads)?;
            packed_attention(&ready, shape, heads.length, backend)
        }
        (Kind::BFloat16, None) => {
            let ready = on_cpu::<bf16>(qkv, shape, heads)?.into_tensor();
            attend_rows(&ready, shape, heads.length)
        }
        _ => {
            let ready = on_cpu::<f32>(qkv, shape, heads)?.into_tensor();
            attend_rows(&ready, shape, heads.length)
        }
    }
}

/// [`rotary_attention`] of queries `[B·L, heads·d]`, keys and values `[B·L, kv·d]` in libtorch's
/// own operators, which autograd can follow.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn plain_rotary_attention(
    [queries, keys, values]: [&Tensor; 3],
    shape: AttentionShape,
    heads: &Heads<'_>,
) -> Result<Tensor> {
    let dim = shape.head_dim as i64;
    let by_head = |rows: &Tensor| -> Result<Tensor> {
        let width = *rows.size().last().unwrap_or(&dim);
        let split = rows.f_reshape([-1, heads.length, width / dim, dim])?;
        Ok(split.f_transpose(1, 2)?)
    };
    let turned = |rows: &Tensor, norm: Option<HeadNorm<'_>>| -> Result<Tensor> {
        let normed = match norm {
            Some(norm) => norm.plain(rows)?,
            None => rows.shallow_clone(),
        };
        rotated(&by_head(&normed)?, heads.rotation)
    };
    let (queries, keys) = (
        turned(queries, heads.query_norm)?,
        turned(keys, heads.key_norm)?,
    );
    plain_attention(&queries, &keys, &by_head(values)?, shape)
}

impl HeadNorm<'_> {
    /// The norm of rows `[T, heads·d]` in libtorch's own operators.
    fn plain(self, rows: &Tensor) -> Result<Tensor> {
        let size = rows.size();
        let groups = rows
            .f_reshape([size[0], -1, self.weight.size()[0]])?
            .f_to_kind(Kind::Float)?;
        let normed = plain_rms_norm(&groups, self.weight, self.eps, rows.kind())?;
        Ok(normed.f_reshape(size)?)
    }
}

/// `heads [B, heads, L, d]` with the first numbers of each head turned.
fn rotated(heads: &Tensor, rotation: Option<[&Tensor; 2]>) -> Result<Tensor> {
    let Some([cos, sin]) = rotation else {
        return Ok(heads.shallow_clone());
    };
    let (dim, width) = (heads.size()[3], 2 * cos.size()[1]);
    let halves = heads
        .f_narrow(-1, 0, width)?
        .f_to_kind(Kind::Float)?
        .f_chunk(2, -1)?;
    let first = halves[0].f_mul(cos)?.f_sub(&halves[1].f_mul(sin)?)?;
    let second = halves[1].f_mul(cos)?.f_add(&halves[0].f_mul(sin)?)?;
    let turned = Tensor::f_cat(&[first, second], -1)?.f_to_kind(heads.kind())?;
    if width == dim {
        return Ok(turned);
    }
    let fixed = heads.f_narrow(-1, width, dim - width)?;
    Ok(Tensor::f_cat(&[turned, fixed], -1)?)
}

/// Norms and rotates the queries and keys of every row on their way to the dtype of the run; values
/// are only rounded.
fn on_cpu<E: Stored>(qkv: Tensor, shape: AttentionShape, heads: &Heads<'_>) -> Result<Buffer<E>> {
    let mut out = Buffer::<E>::new(&qkv.size())?;
    let (row_width, dim) = (shape.row_width(), shape.head_dim);
    let keys_end = (shape.num_heads + shape.num_kv_heads) * dim;
    let queries_end = shape.num_heads * dim;
    let mut qkv = Buffer::<f32>::from_tensor(qkv)?;
    for (norm, first, end) in [
        (heads.query_norm, 0, queries_end),
        (heads.key_norm, queries_end, keys_end),
    ] {
        if let Some(norm) = norm {
            let (weight, eps) = (slice(norm.weight), norm.eps as f32);
            elementwise::norm_groups(&mut qkv, row_width, first, end, weight, eps);
        }
    }
    match heads.rotation {
        Some([cos, sin]) => {
            let num_rotated = shape.num_heads + shape.num_kv_heads;
            let half = cos.size()[1] as usize;
            let (cos, sin) = (slice(cos), slice(sin));
            elementwise::rotate(&qkv, row_width, num_rotated, dim, cos, sin, half, &mut out);
        }
        None => elementwise::round(&qkv, &mut out),
    }
    Ok(out)
}

/// Causal attention of rows that are ready on a packed back end, a sequence of `length` tokens at a
/// time.
fn packed_attention(
    rows: &Buffer<bf16>,
    shape: AttentionShape,
    length: i64,
    backend: Backend,
) -> Result<Tensor> {
    let (stride, width) = (shape.row_width(), shape.num_heads * shape.head_dim);
    let total = rows.len() / stride;
    let mut out = Buffer::<bf16>::new(&[total as i64, width as i64])?;
    let sequences = rows.chunks(length as usize * stride);
    for (sequence, out) in sequences.zip(out.chunks_mut(length as usize * width)) {
        causal_attention(sequence, shape, backend, out)?;
    }
    Ok(out.into_tensor())
}

/// Causal attention by libtorch of rows `[B·L, (heads + 2·kv)·d]` that are ready.
fn attend_rows(rows: &Tensor, shape: AttentionShape, length: i64) -> Result<Tensor> {
    let (heads, kv) = (shape.num_heads as i64, shape.num_kv_heads as i64);
    let by_head = rows
        .f_view([-1, length, heads + 2 * kv, shape.head_dim as i64])?
        .f_transpose(1, 2)?;
    plain_attention(
        &by_head.f_narrow(1, 0, heads)?,
        &by_head.f_narrow(1, heads, kv)?,
        &by_head.f_narrow(1, heads + kv, kv)?,
        shape,
    )
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// The kernels on every back end against libtorch's operators in f32.
    #[test]
    fn kernels_agree_with_plain_operators() {
        tch::manual_seed(0);
        let plain = AttentionShape::new(4, 2, 16);
        let shapes = [
            plain,
            AttentionShape {
                window: Some(5),
                ..plain
            },
            AttentionShape {
                window: Some(100),
                score_cap: Some(2.0),
                score_scale: 0.4,
                ..plain
            },
            AttentionShape {
                score_scale: 0.3,
                ..AttentionShape::new(2, 2, 32)
            },
        ];
        for shape in shapes {
            for (rotated, norm) in [(16, None), (8, Some(16)), (0, Some(64))] {
                check(shape, rotated, norm);
            }
        }
    }

    /// `rotated` numbers of a head turn; the norm's width is that of a head or of all query heads.
    fn check(shape: AttentionShape, rotated: i64, norm: Option<i64>) {
        let (length, float) = (150, (Kind::Float, Device::Cpu));
        let angles = Tensor::rand([length, rotated / 2], float) * 6.0;
        let (cos, sin) = (angles.cos(), angles.sin());
        let weight = |width: i64| Tensor::rand([width], float) + 0.5;
        let queries_width = (shape.num_heads * shape.head_dim) as i64;
        let width = norm.map(|width| {
            if width == 16 {
                shape.head_dim as i64
            } else {
                queries_width
            }
        });
        let query_weight = width.map(weight);
        let key_weight = width.map(|width| match width == queries_width {
            true => weight((shape.num_kv_heads * shape.head_dim) as i64),
            false => weight(width),
        });
        let as_norm = |weight| HeadNorm { weight, eps: 1e-5 };
        let heads = Heads {
            length,
            query_norm: query_weight.as_ref().map(as_norm),
            key_norm: key_weight.as_ref().map(as_norm),
            rotation: (rotated > 0).then_some([&cos, &sin]),
        };
        let qkv = Tensor::randn([2 * length, shape.row_width() as i64], float);
        let widths = [shape.num_heads, shape.num_kv_heads, shape.num_kv_heads];
        let widths = widths.map(|count| (count * shape.head_dim) as i64);
        let parts = qkv.split_with_sizes(widths.as_slice(), -1);
        let parts = [&parts[0], &parts[1], &parts[2]];
        let expected = plain_rotary_attention(parts, shape, &heads).unwrap();
        let close = |found: &Tensor, tolerance: f64, what: &str| {
            let error = (found.to_kind(Kind::Float) - &expected).abs().max();
            let error = error.double_value(&[]);
            assert!(error < tolerance, "{what}: {error} for {shape:?}");
        };
        let found = rotary_attention(qkv.copy(), Kind::Float, shape, &heads).unwrap();
        close(&found, 1e-5, "f32");
        for backend in Backend::available() {
            let ready = on_cpu::<bf16>(qkv.copy(), shape, &heads).unwrap();
            let found = packed_attention(&ready, shape, length, backend).unwrap();
            close(&found, 0.04, "bf16");
        }
    }
}
