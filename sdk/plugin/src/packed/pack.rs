//! Writing bit streams and masks.

use crate::PluginError;

/// Rows of `columns` codes as bit streams of `bits` a code, each row padded to whole bytes.
///
/// # Panics
/// If `codes` is not whole rows, or a code needs more than `bits` bits.
pub fn pack_codes(codes: &[u8], bits: u8, columns: usize) -> Vec<u8> {
    assert!((1..=8).contains(&bits) && columns > 0 && codes.len().is_multiple_of(columns));
    let row_bytes = (columns * usize::from(bits)).div_ceil(8);
    let mut packed = vec![0; codes.len() / columns * row_bytes];
    for (codes, packed) in codes.chunks(columns).zip(packed.chunks_mut(row_bytes)) {
        // Eight codes fill `bits` whole bytes.
        for (codes, packed) in codes.chunks(8).zip(packed.chunks_mut(bits.into())) {
            let mut window = 0_u64;
            for (idx, &code) in codes.iter().enumerate() {
                assert!(u32::from(code) < 1 << bits, "code {code} in {bits} bits");
                window |= u64::from(code) << (idx * usize::from(bits));
            }
            packed.copy_from_slice(&window.to_le_bytes()[..packed.len()]);
        }
    }
    packed
}

/// The codes of rows that [`pack_codes`] has packed, one a byte.
///
/// # Panics
/// If `packed` is not whole rows.
pub fn unpack_codes(packed: &[u8], bits: u8, columns: usize) -> Vec<u8> {
    assert!((1..=8).contains(&bits) && columns > 0);
    let row_bytes = (columns * usize::from(bits)).div_ceil(8);
    assert!(packed.len().is_multiple_of(row_bytes));
    let mut codes = Vec::with_capacity(packed.len() / row_bytes * columns);
    for row in packed.chunks(row_bytes) {
        codes.extend((0..columns).map(|idx| code(row, bits, idx)));
    }
    codes
}

/// Code `idx` of a bit stream.
pub(super) fn code(stream: &[u8], bits: u8, idx: usize) -> u8 {
    let first = idx * usize::from(bits);
    let low = u16::from(stream[first / 8]);
    let high = stream.get(first / 8 + 1).map_or(0, |&byte| u16::from(byte));
    ((low | high << 8) >> (first % 8)) as u8 & (0xFF >> (8 - bits))
}

/// The mask and the kept values of rows of `columns` weights; `is_kept` says of each weight whether
/// it stays.
///
/// # Errors
/// When not `expected` weights are kept.
///
/// # Panics
/// If `is_kept` and `weights` differ in length or are not whole rows.
pub fn pack_sparse<T: Copy>(
    weights: &[T],
    is_kept: &[bool],
    columns: usize,
    expected: u64,
) -> Result<(Vec<u8>, Vec<T>), PluginError> {
    assert!(weights.len() == is_kept.len() && columns > 0 && weights.len().is_multiple_of(columns));
    let row_bytes = columns.div_ceil(8);
    let mut mask = vec![0; weights.len() / columns * row_bytes];
    for (kept, mask) in is_kept.chunks(columns).zip(mask.chunks_mut(row_bytes)) {
        for (kept, byte) in kept.chunks(8).zip(mask) {
            *byte = kept
                .iter()
                .enumerate()
                .fold(0, |byte, (bit, &kept)| byte | u8::from(kept) << bit);
        }
    }
    let kept = weights.iter().zip(is_kept).filter(|(_, kept)| **kept);
    let values: Vec<T> = kept.map(|(&weight, _)| weight).collect();
    if values.len() as u64 != expected {
        return Err(format!("{} weights are kept, expected {expected}", values.len()).into());
    }
    Ok((mask, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back() {
        for bits in 1..=8_u8 {
            for columns in [1, 7, 32, 45] {
                let codes: Vec<u8> = (0..3 * columns)
                    .map(|i| (i * 11 % (1 << bits)) as u8)
                    .collect();
                let packed = pack_codes(&codes, bits, columns);
                assert_eq!(unpack_codes(&packed, bits, columns), codes);
            }
        }
    }
}
