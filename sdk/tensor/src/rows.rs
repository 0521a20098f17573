//! Some rows of a tensor: taking them out, and adding to them.

use tch::{Kind, Tensor};

use crate::buffer::{exclusive, slice};
use crate::elementwise;
use crate::error::Result;

/// The rows `[n, K]` of `values [T, K]` with these numbers.
///
/// # Errors
/// When libtorch refuses the operation, as for a row that is not there.
pub fn select_rows(values: &Tensor, rows: &[i64]) -> Result<Tensor> {
    let rows = Tensor::f_from_slice(rows)?.f_to_device(values.device())?;
    Ok(values.f_index_select(0, &rows)?)
}

/// `sum[rows[i]] += factors[i] · values[i]` of `sum [T, D]` and `values [n, D]`, both in f32. No
/// row is named twice.
///
/// # Errors
/// When libtorch refuses an operation.
///
/// # Panics
/// On the CPU where `sum` shares its memory with another tensor, since it is changed in place, or
/// where a row is not there.
pub fn add_rows(sum: &mut Tensor, values: &Tensor, rows: &[i64], factors: &[f32]) -> Result<()> {
    if sum.device().is_cuda() {
        let device = sum.device();
        let rows = Tensor::f_from_slice(rows)?.f_to_device(device)?;
        let factors = Tensor::f_from_slice(factors)?.f_to_device(device)?;
        let scaled = values
            .f_to_kind(Kind::Float)?
            .f_mul(&factors.f_unsqueeze(1)?)?;
        let _ = sum.f_index_add_(0, &rows, &scaled)?;
        return Ok(());
    }
    let width = values.size()[1] as usize;
    let values = values.f_contiguous()?;
    let (sum, values) = (exclusive::<f32>(sum), slice::<f32>(&values));
    for ((value, &row), &factor) in values.chunks_exact(width).zip(rows).zip(factors) {
        elementwise::add_scaled(value, factor, &mut sum[row as usize * width..][..width]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn rows_that_are_taken_out_and_added_again() {
        for device in [Device::Cpu, crate::device::of_tests()] {
            let values = Tensor::randn([5, 19], (Kind::Float, device));
            let rows = [4, 0, 3];
            let taken = select_rows(&values, &rows).unwrap();
            assert_eq!(taken.get(1), values.get(0));
            let mut sum = Tensor::ones([5, 19], (Kind::Float, device));
            add_rows(&mut sum, &taken, &rows, &[2.0, -1.0, 0.5]).unwrap();
            let factors = Tensor::from_slice(&[-1.0_f32, 0.0, 0.0, 0.5, 2.0]).to_device(device);
            let expected = values * factors.unsqueeze(1) + 1.0;
            assert!((sum - expected).abs().max().double_value(&[]) < 1e-6);
        }
    }
}
