//! How good compressed weights are, layer by layer: what one-shot baselines go by.
//!
//! - Relative output error of a variant with `Δ = W − Ŵ` and the inputs' second moment `H`: `tr(Δ H
//!   Δᵀ) / tr(W H Wᵀ)`. Without statistics `H` is the identity; with norms alone, their squares on
//!   the diagonal.
//! - Outlier ratio (OWL, Yin et al. 2024): the share of weights with `|w_ij| · ‖x_j‖` above
//!   [`OUTLIER_FACTOR`] times the layer's mean.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::statistics::Statistics;

/// OWL's M.
const OUTLIER_FACTOR: f64 = 5.0;

/// Columns of `H` in one product.
const TILE: usize = 128;

/// `tr(W H Wᵀ)` of `weight [N, K]` in f32.
pub(super) fn output_energy(weight: &Tensor, statistics: &Statistics) -> Result<f64> {
    let inner = |a: &Tensor, b: &Tensor| -> Result<f64> {
        Ok(a.f_mul(b)?.f_sum(Kind::Double)?.double_value(&[]))
    };
    match (&statistics.second_moment, &statistics.input_norms) {
        (Some(second_moment), _) => {
            // Symmetric: what is left of the diagonal counts twice, and what is right of it is not multiplied at all.
            let width = second_moment.size()[0];
            let tiles = (0..width).step_by(TILE).map(|start| {
                let count = (width - start).min(TILE as i64);
                let of_tile = weight.f_narrow(1, start, count)?;
                let columns = second_moment.f_narrow(1, start, count)?;
                let on_diagonal = of_tile.f_matmul(&columns.f_narrow(0, start, count)?)?;
                let outputs = match start {
                    0 => on_diagonal,
                    _ => {
                        let (before, above) = (
                            weight.f_narrow(1, 0, start)?,
                            columns.f_narrow(0, 0, start)?,
                        );
                        on_diagonal.f_addmm(&before, &above.f_mul_scalar(2.0)?)?
                    }
                };
                inner(&outputs, &of_tile)
            });
            tiles.sum()
        }
        (None, Some(norms)) => inner(&weight.f_mul(&norms.f_square()?)?, weight),
        (None, None) => inner(weight, weight),
    }
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

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn output_energy_is_the_trace() {
        for width in [3, 128, 300] {
            let options = (Kind::Float, Device::Cpu);
            let (weight, inputs) = (
                Tensor::randn([7, width], options),
                Tensor::randn([50, width], options),
            );
            let second_moment = inputs.transpose(0, 1).matmul(&inputs);
            let outputs = weight.matmul(&inputs.transpose(0, 1));
            let expected = outputs.square().sum(Kind::Double).double_value(&[]);
            let statistics = Statistics {
                second_moment: Some(second_moment),
                ..Statistics::none()
            };
            let found = output_energy(&weight, &statistics).unwrap();
            assert!(((found - expected) / expected).abs() < 1e-5, "{width}");
        }
    }
}
