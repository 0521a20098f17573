//! The decoder's operations on tensors: fused CPU kernels where they apply, libtorch's operators everywhere else (GPU,
//! other dtypes, CPUs without bf16 units). Both ways compute in f32 and round once.
//!
//! Shapes: T tokens (of all sequences of a batch, row after row), D hidden size, I intermediate size, d head size.

mod attention;
mod brgemm;
mod elementwise;
mod linear;
mod log_sum_exp;
mod packed;
mod simd;
mod widening;

use half::bf16;
use tch::{Kind, Tensor};

pub(crate) use attention::AttentionShape;
pub(crate) use linear::{Weight, add_projection, bias, gated, project};
pub(crate) use log_sum_exp::log_sum_exp;
pub(crate) use packed::{PackedWeight, TILE};

use crate::error::Result;

/// A number type that a CPU tensor can be viewed as.
pub(crate) trait Stored: simd::Element {
    const KIND: Kind;
}
impl Stored for f32 {
    const KIND: Kind = Kind::Float;
}
impl Stored for bf16 {
    const KIND: Kind = Kind::BFloat16;
}

pub(crate) fn slice<T: Stored>(tensor: &Tensor) -> &[T] {
    check_layout::<T>(tensor);
    // SAFETY: a contiguous CPU tensor of this dtype holds `numel` such numbers; the borrow keeps it alive.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// The caller owns the tensor alone: it has just been made, or is the forward pass's own buffer.
pub(crate) fn slice_mut<T: Stored>(tensor: &mut Tensor) -> &mut [T] {
    check_layout::<T>(tensor);
    // SAFETY: as in `slice`; exclusive because the caller holds the only handle.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

fn check_layout<T: Stored>(tensor: &Tensor) {
    assert!(
        tensor.kind() == T::KIND && tensor.is_contiguous() && !tensor.device().is_cuda(),
        "a CPU kernel was given a {:?} tensor on {:?}",
        tensor.kind(),
        tensor.device()
    );
}

/// Whether the packed bf16 products can be used for tensors of `kind` on `device`.
pub(crate) fn has_packed_products(kind: Kind, device: tch::Device, depth: i64) -> bool {
    kind == Kind::BFloat16 && device == tch::Device::Cpu && depth % 2 == 0 && brgemm::is_available()
}

/// Dtype in which libtorch multiplies matrices fastest on `device` for a run in `kind`: bf16 only where there are units for it; without, it
/// takes many times as long as f32.
pub fn product_kind(kind: Kind, device: tch::Device) -> Kind {
    match device.is_cuda() || brgemm::uses_bf16_units() {
        true => kind,
        false => Kind::Float,
    }
}

/// `out = values`, rounded to bf16.
pub(crate) fn round(values: &[f32], out: &mut [bf16]) {
    elementwise::round(values, out);
}

/// RMS norm of the residual stream (f32) in the dtype of the run.
pub(crate) fn rms_norm(residual: &Tensor, weight: &Tensor, eps: f64, kind: Kind) -> Result<Tensor> {
    if residual.device().is_cuda() {
        let normed = residual.f_rms_norm(weight.size(), Some(weight), eps)?;
        return Ok(normed.f_to_kind(kind)?);
    }
    let mut out = Tensor::f_empty(residual.size(), (kind, residual.device()))?;
    let (residual, weight, eps) = (slice(residual), slice(weight), eps as f32);
    match kind {
        Kind::BFloat16 => {
            elementwise::rms_norm::<bf16>(residual, weight, eps, slice_mut(&mut out));
        }
        _ => elementwise::rms_norm::<f32>(residual, weight, eps, slice_mut(&mut out)),
    }
    Ok(out)
}

/// The same with libtorch's operators.
pub(crate) fn plain_rms_norm(
    residual: &Tensor,
    weight: &Tensor,
    eps: f64,
    kind: Kind,
) -> Result<Tensor> {
    let mean_square = residual.f_square()?.f_mean_dim(-1i64, true, Kind::Float)?;
    let scale = (mean_square + eps).f_rsqrt()?;
    Ok(residual.f_mul(&scale)?.f_mul(weight)?.f_to_kind(kind)?)
}

/// Rotary embedding and causal attention: `qkv [B·L, (heads + 2·kv)·d] → [B·L, heads·d]` in `kind`, for sequences of `cos.size()[0]`
/// tokens; `cos` and `sin` are `[L, d/2]` in f32. `qkv` is f32 on the CPU, so that queries and keys are rounded once.
pub(crate) fn rotary_attention(
    qkv: &Tensor,
    kind: Kind,
    shape: AttentionShape,
    cos: &Tensor,
    sin: &Tensor,
) -> Result<Tensor> {
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
    } = shape;
    let (length, total) = (cos.size()[0], qkv.size()[0]);
    let (heads, kv, dim) = (num_heads as i64, num_kv_heads as i64, head_dim as i64);
    let on_cpu = !qkv.device().is_cuda();
    let stride = (num_heads + 2 * num_kv_heads) * head_dim;
    let mut rotated = qkv.shallow_clone();
    if on_cpu {
        rotated = Tensor::f_empty(qkv.size(), (kind, qkv.device()))?;
        let rows = slice::<f32>(qkv);
        let (num_rotated, half) = (num_heads + num_kv_heads, head_dim / 2);
        let (cos, sin) = (slice(cos), slice(sin));
        match kind {
            Kind::BFloat16 => {
                let out = slice_mut::<bf16>(&mut rotated);
                elementwise::rotate(rows, stride, num_rotated, cos, sin, half, out);
            }
            _ => {
                let out = slice_mut::<f32>(&mut rotated);
                elementwise::rotate(rows, stride, num_rotated, cos, sin, half, out);
            }
        }
        if has_packed_products(kind, qkv.device(), dim) {
            let mut out = Tensor::f_empty([total, heads * dim], (kind, qkv.device()))?;
            let (length, out_width) = (length as usize, num_heads * head_dim);
            let sequences = slice::<bf16>(&rotated).chunks(length * stride);
            for (sequence, out) in
                sequences.zip(slice_mut::<bf16>(&mut out).chunks_mut(length * out_width))
            {
                attention::causal_attention(sequence, shape, out)?;
            }
            return Ok(out);
        }
    }
    let by_head = rotated
        .f_view([total / length, length, heads + 2 * kv, dim])?
        .f_transpose(1, 2)?;
    let mut rotated = by_head.f_narrow(1, 0, heads + kv)?;
    if !on_cpu {
        rotated = rotate_on_device(&rotated, cos, sin)?;
    }
    let queries = rotated.f_narrow(1, 0, heads)?;
    let keys = rotated.f_narrow(1, heads, kv)?;
    let values = by_head.f_narrow(1, heads + kv, kv)?;
    let attended = Tensor::f_scaled_dot_product_attention(
        &queries,
        &keys,
        &values,
        None::<Tensor>,
        0.0,
        true,
        None,
        heads != kv,
    )?;
    Ok(attended
        .f_transpose(1, 2)?
        .f_reshape([total, heads * dim])?)
}

/// Rotary embedding of `heads [B, heads, L, d]` with libtorch's operators.
pub(crate) fn rotate_on_device(heads: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let halves = heads.f_to_kind(Kind::Float)?.f_chunk(2, -1)?;
    let first = halves[0].f_mul(cos)?.f_sub(&halves[1].f_mul(sin)?)?;
    let second = halves[1].f_mul(cos)?.f_add(&halves[0].f_mul(sin)?)?;
    Ok(Tensor::f_cat(&[first, second], -1)?.f_to_kind(heads.kind())?)
}

/// `⟨a_t, b_t⟩` per row in f32; `b` is f32.
pub(crate) fn row_dot(a: &Tensor, b: &Tensor) -> Result<Vec<f32>> {
    if a.device().is_cuda() {
        let dot =
            a.f_to_kind(Kind::Float)?
                .f_mul(b)?
                .f_sum_dim_intlist(-1i64, false, Kind::Double)?;
        return to_vec(&dot);
    }
    let (rows, width) = (a.size()[0] as usize, a.size()[1] as usize);
    let mut out = vec![0.0; rows];
    match a.kind() {
        Kind::BFloat16 => elementwise::row_dot::<bf16>(slice(a), slice(b), width, &mut out),
        _ => elementwise::row_dot::<f32>(slice(a), slice(b), width, &mut out),
    }
    Ok(out)
}

/// Of each row of logits `[T, V]` (f32, replaced): `e = exp(x − max) [T, V]`, `1 / Σ e [T, 1]` and `Σ p log p [T]` of `p = e / Σ e`.
/// Sums run in f64: an error of 1e-6 in `Σ p` would come back in a KL divergence times the size of the logits.
pub(crate) fn softmax_parts(mut logits: Tensor) -> Result<(Tensor, Tensor, Vec<f32>)> {
    let (rows, width) = (logits.size()[0] as usize, logits.size()[1] as usize);
    if logits.device().is_cuda() {
        let shifted = logits.f_sub(&logits.f_amax(-1i64, true)?)?;
        let exponentials = shifted.f_exp()?;
        let sums = exponentials.f_sum_dim_intlist(-1i64, true, Kind::Double)?;
        let weighted =
            shifted
                .f_mul(&exponentials)?
                .f_sum_dim_intlist(-1i64, true, Kind::Double)?;
        let negative_entropy = weighted.f_div(&sums)?.f_sub(&sums.f_log()?)?;
        return Ok((
            exponentials,
            sums.f_reciprocal()?.f_to_kind(Kind::Float)?,
            to_vec(&negative_entropy.f_view([-1])?)?,
        ));
    }
    let (mut sums, mut negative_entropy) = (vec![0.0; rows], vec![0.0; rows]);
    elementwise::exponentials(
        slice_mut(&mut logits),
        width,
        &mut sums,
        &mut negative_entropy,
    );
    let inverse: Vec<f32> = sums.iter().map(|sum| (1.0 / sum) as f32).collect();
    Ok((
        logits,
        Tensor::f_from_slice(&inverse)?.f_view([-1, 1])?,
        negative_entropy,
    ))
}

/// Whether a GPU multiplies numbers of `kind` and leaves the sums in f32.
pub(crate) fn has_wide_sums(kind: Kind, device: tch::Device) -> bool {
    kind == Kind::BFloat16 && device.is_cuda()
}

/// Logits `[T, V]` in f32 of `[T, D]` bf16 hidden states.
pub(crate) fn packed_logits(head: &PackedWeight, hidden: &Tensor) -> Result<Tensor> {
    let size = [hidden.size()[0], head.num_rows() as i64];
    let mut out = Tensor::f_empty(size, (Kind::Float, hidden.device()))?;
    head.product(slice(hidden), slice_mut(&mut out), false);
    Ok(out)
}

/// `log Σ_v exp` of each row of logits `[T, V]` (f32, overwritten) with libtorch's operators, summed in f64 like [`softmax_parts`].
pub(crate) fn plain_log_sum_exp(logits: &mut Tensor) -> Result<Tensor> {
    let largest = logits.f_amax(-1i64, true)?;
    let sums = logits
        .f_sub_(&largest)?
        .f_exp_()?
        .f_sum_dim_intlist(-1i64, true, Kind::Double)?;
    Ok(sums.f_log()?.f_add(&largest)?.f_view([-1])?)
}

/// A tensor's numbers as f32 on the CPU.
pub(crate) fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor
        .f_to_device(tch::Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_contiguous()?;
    Ok(slice::<f32>(&tensor).to_vec())
}
