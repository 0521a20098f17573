//! What level changes do to one sequence: responses of tokens, and those of the first token apart.
//!
//! Shapes: L tokens, M level changes, S sampled tokens.

use evopress_tensor::to_vec;
use tch::{Kind, Tensor};

use super::changes::Changes;
use crate::error::{EvaluateError, Result};

/// What level changes do to one sequence.
pub(super) struct SequenceResponses {
    /// By change: the mean over tokens of the first-order change, and its squared standard error.
    pub(super) first: Vec<(f64, f64)>,
    /// `r_m[t]`, `[M, S, L − 1]` in f32 on the CPU.
    pub(super) second: Tensor,
    /// By change: what both terms of its [`evopress_search::prediction::Predictions::sink`] are
    /// here, which are 0 in the others.
    pub(super) sink: Vec<(f64, f64)>,
}

impl SequenceResponses {
    /// Of a sequence's tokens `[M, L − 1]`, to the loss's gradient and to those of the sampled
    /// tokens.
    pub(super) fn new(
        changes: &Changes,
        responses: &[Tensor],
        sequence_idx: usize,
    ) -> Result<Self> {
        let first = &responses[0];
        let second = Tensor::f_stack(&responses[1..], 1)?;
        let counted = first.size()[1] as f64;
        let sink = cut_sink(changes, first, &second)?;
        let means = to_vec(&first.f_mean_dim(-1i64, false, Kind::Float)?)?;
        let variances = to_vec(&first.f_var_dim(-1i64, true, false)?)?;
        if let Some(&value) = means.iter().find(|value| !value.is_finite()) {
            return Err(EvaluateError::NotFinite {
                value,
                sequence_idx,
            });
        }
        let first = means.into_iter().zip(variances);
        let first = first.map(|(mean, variance)| (mean.into(), f64::from(variance) / counted));
        Ok(Self {
            first: first.collect(),
            second: second.f_to_device(tch::Device::Cpu)?,
            sink,
        })
    }
}

/// Takes what changes of levels do at the first token out of the responses `[M, L − 1]` and `[M, S,
/// L − 1]`: both terms by change, 0 for others.
fn cut_sink(changes: &Changes, first: &Tensor, second: &Tensor) -> Result<Vec<(f64, f64)>> {
    let counted = first.size()[1] as f64;
    let is_level: Vec<f32> = changes
        .are_levels
        .iter()
        .map(|&is| f32::from(u8::from(is)))
        .collect();
    let is_level = Tensor::f_from_slice(&is_level)?.f_to_device(first.device())?;
    let (mut of_first, mut of_second) = (first.f_select(-1, 0)?, second.f_select(-1, 0)?);
    let slopes = to_vec(&of_first.f_mul(&is_level)?)?;
    let squares = of_second
        .f_square()?
        .f_mean_dim([1i64].as_slice(), false, Kind::Float)?;
    let squares = to_vec(&squares.f_mul(&is_level)?)?;
    let others = is_level.f_neg()?.f_add_scalar(1.0)?;
    let _ = of_first.f_mul_(&others)?;
    let _ = of_second.f_mul_(&others.f_unsqueeze(1)?)?;
    let terms = slopes.into_iter().zip(squares);
    Ok(terms
        .map(|(slope, square)| (f64::from(slope) / counted, f64::from(square) / counted))
        .collect())
}
