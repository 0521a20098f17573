//! From codes, grids and masks to the parts of a packed weight.

use evopress_plugin::{
    DType, OwnedTensor, PackedWeight, PluginError,
    half::{bf16, f16},
    pack_codes, pack_sparse,
};

/// A quantized weight of `rows × columns`: `codes [rows, columns]`, `scales` and, unless the grids
/// are symmetric, `zeros`, both `[rows, columns / group_size]`.
///
/// # Errors
/// When the lengths do not fit.
pub fn pack_quantized(
    codes: &[u8],
    scales: Vec<f16>,
    zeros: Option<&[u8]>,
    bits: u8,
    (rows, columns): (usize, usize),
) -> Result<PackedWeight, PluginError> {
    let num_groups = scales.len() / rows;
    let stream = |codes: &[u8], columns| {
        let packed = pack_codes(codes, bits, columns);
        let row_bytes = packed.len() / rows;
        OwnedTensor::from_vec(packed, &[rows as i64, row_bytes as i64])
    };
    let mut parts = vec![
        stream(codes, columns)?,
        OwnedTensor::from_vec(scales, &[rows as i64, num_groups as i64])?,
    ];
    if let Some(zeros) = zeros {
        parts.push(stream(zeros, num_groups)?);
    }
    Ok(PackedWeight { parts })
}

/// A sparse weight of rows of `columns`, of which `num_values` are kept, in the encoding's dtype.
///
/// # Errors
/// When another number is kept, or the dtype is no float.
pub fn pack_sparse_f32(
    weights: &[f32],
    is_kept: &[bool],
    columns: usize,
    num_values: u64,
    dtype: DType,
) -> Result<PackedWeight, PluginError> {
    let (mask, values) = pack_sparse(weights, is_kept, columns, num_values)?;
    let count = values.len() as i64;
    let values = match dtype {
        DType::F32 => OwnedTensor::from_vec(values, &[count])?,
        DType::Bf16 => {
            let values: Vec<bf16> = values.into_iter().map(bf16::from_f32).collect();
            OwnedTensor::from_vec(values, &[count])?
        }
        DType::F16 => {
            let values: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
            OwnedTensor::from_vec(values, &[count])?
        }
        other => {
            return Err(format!(
                "values of dtype {other} are asked for; allowed are bf16, f16 and f32"
            )
            .into());
        }
    };
    let rows = (weights.len() / columns) as i64;
    let mask = OwnedTensor::from_vec(mask, &[rows, columns.div_ceil(8) as i64])?;
    Ok(PackedWeight {
        parts: vec![mask, values],
    })
}
