//! The softmax of logits, row by row; and the logarithm of its denominator.

use tch::{Kind, Tensor};

use crate::buffer::Buffer;
use crate::elementwise;
use crate::error::Result;
use crate::numbers::to_vec;

/// Parts of `p = softmax(logits)`, row by row.
pub struct Softmax {
    /// `e = exp(x − max)`, `[T, V]` in f32.
    pub exponentials: Tensor,
    /// `1 / Σ e`, `[T, 1]` in f32.
    pub inverse_sums: Tensor,
    /// `Σ p log p` of `p = e / Σ e`, `[T]`.
    pub negative_entropy: Vec<f32>,
}

impl Softmax {
    /// Of logits `[T, V]` in f32. Sums run in f64: an error of 1e-6 in `Σ p` would come back in a
    /// KL divergence times the size of the logits.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn new(logits: Tensor) -> Result<Self> {
        match logits.device().is_cuda() {
            true => Self::on_device(&logits),
            false => Self::on_cpu(logits),
        }
    }

    fn on_device(logits: &Tensor) -> Result<Self> {
        let shifted = logits.f_sub(&logits.f_amax(-1i64, true)?)?;
        let exponentials = shifted.f_exp()?;
        let sums = exponentials.f_sum_dim_intlist(-1i64, true, Kind::Double)?;
        let weighted = shifted.f_mul(&exponentials)?;
        let weighted = weighted.f_sum_dim_intlist(-1i64, true, Kind::Double)?;
        let negative_entropy = weighted.f_div(&sums)?.f_sub(&sums.f_log()?)?;
        Ok(Self {
            exponentials,
            inverse_sums: sums.f_reciprocal()?.f_to_kind(Kind::Float)?,
            negative_entropy: to_vec(&negative_entropy.f_view([-1])?)?,
        })
    }

    fn on_cpu(logits: Tensor) -> Result<Self> {
        let (rows, width) = (logits.size()[0] as usize, logits.size()[1] as usize);
        let (mut sums, mut negative_entropy) = (vec![0.0; rows], vec![0.0; rows]);
        let mut numbers = Buffer::<f32>::from_tensor(logits)?;
        elementwise::exponentials(&mut numbers, width, &mut sums, &mut negative_entropy);
        let inverse: Vec<f32> = sums.iter().map(|sum| (1.0 / sum) as f32).collect();
        Ok(Self {
            exponentials: numbers.into_tensor(),
            inverse_sums: Tensor::f_from_slice(&inverse)?.f_view([-1, 1])?,
            negative_entropy,
        })
    }
}

/// `log Σ_v exp` of each row of logits `[T, V]` (f32, overwritten) in libtorch's operators, summed
/// in f64 like [`Softmax`].
///
/// # Errors
/// When libtorch refuses an operation.
pub fn plain_log_sum_exp(logits: &mut Tensor) -> Result<Tensor> {
    let largest = logits.f_amax(-1i64, true)?;
    let sums = logits
        .f_sub_(&largest)?
        .f_exp_()?
        .f_sum_dim_intlist(-1i64, true, Kind::Double)?;
    Ok(sums.f_log()?.f_add(&largest)?.f_view([-1])?)
}
