//! The layout of the right factor.

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
