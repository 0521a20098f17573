//! The layout of the right factor.

use std::ops::Range;

use half::bf16;

/// Packs the transpose of `rows` (`n` rows of `k` numbers, as weights are stored) into `[k /
/// 2][n][2]`.
pub(crate) fn pack_transposed(rows: &[bf16], n: usize, k: usize, packed: &mut [bf16]) {
    assert!(rows.len() >= n * k && packed.len() >= n * k && k.is_multiple_of(2));
    for (column, row) in rows.chunks_exact(k).take(n).enumerate() {
        for (pair, two) in row.chunks_exact(2).enumerate() {
            packed[(pair * n + column) * 2..][..2].copy_from_slice(two);
        }
    }
}

/// The way back for some `rows` of a tile that packs `width` of them: as the columns of `out`,
/// `[k][stride]`.
pub(crate) fn widen_transposed(
    tile: &[bf16],
    width: usize,
    rows: Range<usize>,
    out: &mut [f32],
    stride: usize,
) {
    for (pair, both) in tile.chunks_exact(2 * width).enumerate() {
        let (even, odd) = out[2 * pair * stride..].split_at_mut(stride);
        let columns = even.iter_mut().zip(odd);
        let (twos, _) = both[2 * rows.start..2 * rows.end].as_chunks::<2>();
        for ((even, odd), two) in columns.zip(twos) {
            (*even, *odd) = (two[0].to_f32(), two[1].to_f32());
        }
    }
}
