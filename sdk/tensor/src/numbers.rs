//! Tensors to plain numbers and back.

use half::bf16;
use tch::{Device, Kind, Tensor};

use crate::buffer::{Buffer, slice};
use crate::elementwise;
use crate::error::Result;

/// A tensor's numbers as f32 on the CPU, row by row.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_contiguous()?;
    Ok(slice::<f32>(&tensor).to_vec())
}

/// A CPU tensor `[rows, columns]` in `kind` (`BFloat16` or `Float`) of rows that `fill` makes in
/// f32; each is rounded once.
///
/// # Errors
/// When there is no memory for it.
pub fn from_rows(
    (rows, columns): (usize, usize),
    kind: Kind,
    mut fill: impl FnMut(usize, &mut [f32]),
) -> Result<Tensor> {
    let size = [rows as i64, columns as i64];
    if kind == Kind::BFloat16 {
        let mut out = Buffer::<bf16>::new(&size)?;
        let mut numbers = vec![0.0; columns];
        for (row, out) in out.chunks_exact_mut(columns).enumerate() {
            fill(row, &mut numbers);
            elementwise::round(&numbers, out);
        }
        return Ok(out.into_tensor());
    }
    let mut out = Buffer::<f32>::new(&size)?;
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        fill(row, out);
    }
    Ok(out.into_tensor())
}

/// A CPU tensor of `size` in `kind` whose bytes `fill` writes, row-major and little-endian.
///
/// # Errors
/// When there is no memory for it.
pub fn from_bytes(kind: Kind, size: &[i64], fill: impl FnOnce(&mut [u8])) -> Result<Tensor> {
    let tensor = Tensor::f_zeros(size, (kind, Device::Cpu))?;
    let num_bytes = tensor.numel() * kind.elt_size_in_bytes();
    if num_bytes > 0 {
        // SAFETY: a new contiguous CPU tensor has so many initialised bytes, and this is the only handle to it. Numbers of
        // libtorch's plain types are valid whatever their bytes.
        fill(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), num_bytes) });
    }
    Ok(tensor)
}

/// `⟨a_t, b_t⟩` of each row of `a [T, D]` and `b [T, D]`; `b` is f32.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn row_dot(a: &Tensor, b: &Tensor) -> Result<Vec<f32>> {
    if a.device().is_cuda() {
        let products = a.f_to_kind(Kind::Float)?.f_mul(b)?;
        return to_vec(&products.f_sum_dim_intlist(-1i64, false, Kind::Double)?);
    }
    let (rows, width) = (a.size()[0] as usize, a.size()[1] as usize);
    let mut out = vec![0.0; rows];
    match a.kind() {
        Kind::BFloat16 => elementwise::row_dot::<bf16>(slice(a), slice(b), width, &mut out),
        _ => elementwise::row_dot::<f32>(slice(a), slice(b), width, &mut out),
    }
    Ok(out)
}
