//! How good compressed weights are, layer by layer: what one-shot baselines go by.
//!
//! - Relative output error of a variant with `Δ = W − Ŵ` and the inputs' second moment `H`: `tr(Δ H Δᵀ) / tr(W H Wᵀ)`. Without
//!   statistics `H` is the identity; with norms alone, their squares on the diagonal.
//! - Outlier ratio (OWL, Yin et al. 2024): the share of weights with `|w_ij| · ‖x_j‖` above [`OUTLIER_FACTOR`] times the layer's mean.

use tch::{Kind, Tensor};

use super::statistics::Statistics;
use crate::error::Result;

/// OWL's M.
const OUTLIER_FACTOR: f64 = 5.0;

/// `tr(W H Wᵀ)` of `weight [N, K]` in f32.
pub(super) fn output_energy(weight: &Tensor, statistics: &Statistics) -> Result<f64> {
    let outputs = match (&statistics.second_moment, &statistics.input_norms) {
        (Some(second_moment), _) => weight.f_matmul(second_moment)?,
        (None, Some(norms)) => weight.f_mul(&norms.f_square()?)?,
        (None, None) => weight.shallow_clone(),
    };
    Ok(outputs
        .f_mul(weight)?
        .f_sum(Kind::Double)?
        .double_value(&[]))
}

/// The outlier ratio of `weight`, if there are norms.
pub(super) fn outlier_ratio(weight: &Tensor, statistics: &Statistics) -> Result<Option<f64>> {
    let Some(norms) = &statistics.input_norms else {
        return Ok(None);
    };
    let scores = weight.f_abs()?.f_mul(norms)?;
    let threshold = scores.f_mean(Kind::Float)?.f_mul_scalar(OUTLIER_FACTOR)?;
    let outliers = scores.f_gt_tensor(&threshold)?.f_sum(Kind::Double)?;
    Ok(Some(outliers.double_value(&[]) / weight.numel() as f64))
}
