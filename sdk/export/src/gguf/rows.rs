//! Rows of a tensor as a file has them.

use evopress_levels::Database;
use evopress_plugin::GgmlType;
use evopress_search::genotype::WeightId;
use half::f16;
use tch::Tensor;

use super::repack;
use crate::error::Result;

/// The elements of a tensor of floats.
pub(super) fn plain(tensor: &Tensor) -> Result<Vec<u8>> {
    let tensor = tensor.f_contiguous()?;
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}

/// A level's rows as blocks of a type that loses nothing of them.
pub(super) fn repacked(
    database: &Database,
    id: WeightId,
    shape: &[usize],
    ggml_type: GgmlType,
) -> Result<Vec<u8>> {
    let (rows, columns) = (shape[0], shape[1]);
    let decoder = database.decoder(id)?;
    let scales: Vec<f16> = database.parts(id)[1]
        .as_chunks::<2>()
        .0
        .iter()
        .map(|bytes| f16::from_le_bytes(*bytes))
        .collect();
    let groups = scales.len() / rows;
    let mut weights = vec![0.0; columns];
    let size_bytes = ggml_type.size_bytes((rows * columns) as u64);
    let mut blocks = Vec::with_capacity(size_bytes as usize);
    for row in 0..rows {
        decoder.row(row, &mut weights);
        let scales = &scales[row * groups..][..groups];
        repack::row(ggml_type, &weights, scales, &mut blocks);
    }
    Ok(blocks)
}

/// Rows of each head from Hugging Face's order (the first half, the second half) to llama.cpp's
/// (one of each in turn).
pub(super) fn interleave(bytes: &[u8], num_rows: usize, num_heads: usize) -> Vec<u8> {
    let row_bytes = bytes.len() / num_rows;
    let head_dim = num_rows / num_heads;
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..num_rows {
        let (head, at) = (row / head_dim, row % head_dim);
        let from = head * head_dim + at % 2 * (head_dim / 2) + at / 2;
        out.extend(&bytes[from * row_bytes..][..row_bytes]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_heads_are_interleaved() {
        // Two heads of four rows of two bytes.
        let rows = [
            [0, 0],
            [1, 1],
            [2, 2],
            [3, 3],
            [4, 4],
            [5, 5],
            [6, 6],
            [7, 7],
        ]
        .concat();
        let expected = [
            [0, 0],
            [2, 2],
            [1, 1],
            [3, 3],
            [4, 4],
            [6, 6],
            [5, 5],
            [7, 7],
        ]
        .concat();
        assert_eq!(interleave(&rows, 8, 2), expected);
    }
}
