//! Compressed weights as bytes and as numbers.

use crate::{DType, Decoder, Element, Encoding, OwnedTensor, PackedWeight, PluginError};

/// A compressed weight of `rows × columns`, written out.
///
/// # Errors
/// When its parts do not fit the encoding.
pub fn decode(
    packed: &PackedWeight,
    encoding: &Encoding,
    rows: usize,
    columns: usize,
) -> Result<Vec<f32>, PluginError> {
    let parts: Vec<Vec<u8>> = packed
        .parts
        .iter()
        .map(bytes_of)
        .collect::<Result<_, _>>()?;
    let decoder = Decoder::new(
        encoding,
        rows,
        columns,
        parts.iter().map(Vec::as_slice).collect(),
    )?;
    let mut weights = vec![0.0; rows * columns];
    for (row, weights) in weights.chunks_mut(columns).enumerate() {
        decoder.row(row, weights);
    }
    Ok(weights)
}

pub(super) fn bytes_of(part: &OwnedTensor) -> Result<Vec<u8>, PluginError> {
    fn flat<T: Element, const N: usize>(
        part: &OwnedTensor,
        bytes: fn(T) -> [u8; N],
    ) -> Result<Vec<u8>, PluginError> {
        let elements = part.view().as_slice::<T>()?;
        Ok(elements
            .iter()
            .flat_map(|element| bytes(*element))
            .collect())
    }
    match part.view().dtype() {
        DType::U8 => flat(part, u8::to_le_bytes),
        DType::F32 => flat(part, f32::to_le_bytes),
        DType::F16 => flat(part, half::f16::to_le_bytes),
        DType::Bf16 => flat(part, half::bf16::to_le_bytes),
        DType::I64 => flat(part, i64::to_le_bytes),
    }
}
