//! RMS norms: `x / √(mean(x²) + ε) · w`, row by row.

use half::bf16;
use tch::{Kind, Tensor};

use crate::buffer::{Buffer, slice};
use crate::elementwise;
use crate::error::Result;

/// The norm of a residual stream `[T, D]` (f32) in the dtype of the run; `weight` is `[D]` in f32.
/// On the CPU by a fused kernel.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn rms_norm(residual: &Tensor, weight: &Tensor, eps: f64, kind: Kind) -> Result<Tensor> {
    if residual.device().is_cuda() {
        let normed = residual.f_rms_norm(weight.size(), Some(weight), eps)?;
        return Ok(normed.f_to_kind(kind)?);
    }
    let size = residual.size();
    let (residual, weight, eps) = (slice(residual), slice(weight), eps as f32);
    Ok(match kind {
        Kind::BFloat16 => {
            let mut out = Buffer::<bf16>::new(&size)?;
            elementwise::rms_norm(residual, weight, eps, &mut out);
            out.into_tensor()
        }
        _ => {
            let mut out = Buffer::<f32>::new(&size)?;
            elementwise::rms_norm(residual, weight, eps, &mut out);
            out.into_tensor()
        }
    })
}

/// The norm in libtorch's own operators, which autograd can follow.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn plain_rms_norm(residual: &Tensor, weight: &Tensor, eps: f64, kind: Kind) -> Result<Tensor> {
    let mean_square = residual.f_square()?.f_mean_dim(-1i64, true, Kind::Float)?;
    let scale = (mean_square + eps).f_rsqrt()?;
    Ok(residual.f_mul(&scale)?.f_mul(weight)?.f_to_kind(kind)?)
}
