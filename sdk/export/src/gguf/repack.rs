//! Codes of uniform grids as ggml's blocks of 32, where nothing is lost.
//!
//! `(code − zero) · scale` with a scale in f16 is what `Q4_0`, `Q5_0` and `Q8_0` compute too, from
//! a whole number of 4, 5 or 8 bits about zero; so every grid whose differences fit, in groups of
//! whole blocks, is one of these exactly.

use evopress_plugin::{Encoding, GgmlType};
use half::f16;

const BLOCK: usize = 32;

/// The smallest type that holds a weight packed so, if any does.
pub(super) fn lossless_type(encoding: &Encoding) -> Option<GgmlType> {
    let &Encoding::Quantized {
        bits,
        group_size,
        symmetric,
    } = encoding
    else {
        return None;
    };
    if !group_size.is_multiple_of(BLOCK as u32) {
        return None;
    }
    // `code − zero` of a symmetric grid needs the code's bits, of another one a sign more.
    match bits + u8::from(!symmetric) {
        ..=4 => Some(GgmlType::Q4_0),
        5 => Some(GgmlType::Q5_0),
        6..=8 => Some(GgmlType::Q8_0),
        _ => None,
    }
}

/// A row's blocks, appended to `blocks`: `weights` are whole multiples of their group's scale.
pub(super) fn row(ggml_type: GgmlType, weights: &[f32], scales: &[f16], blocks: &mut Vec<u8>) {
    let blocks_of_group = weights.len() / BLOCK / scales.len();
    for (idx, weights) in weights.chunks_exact(BLOCK).enumerate() {
        let scale = scales[idx / blocks_of_group];
        let step = scale.to_f32();
        let mut codes = [0_i8; BLOCK];
        if step != 0.0 {
            for (code, weight) in codes.iter_mut().zip(weights) {
                *code = (weight / step).round() as i8;
            }
        }
        blocks.extend(scale.to_le_bytes());
        let nibble = |code: i8, zero: i8| (code + zero) as u8;
        match ggml_type {
            GgmlType::Q4_0 => {
                blocks.extend(
                    (0..16).map(|at| nibble(codes[at], 8) | nibble(codes[at + 16], 8) << 4),
                );
            }
            GgmlType::Q5_0 => {
                let fifth = (0..BLOCK).fold(0_u32, |bits, at| {
                    bits | u32::from(nibble(codes[at], 16) >> 4) << at
                });
                blocks.extend(fifth.to_le_bytes());
                let low = |at: usize| nibble(codes[at], 16) & 15;
                blocks.extend((0..16).map(|at| low(at) | low(at + 16) << 4));
            }
            _ => blocks.extend(codes.map(|code| code as u8)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_that_fit_come_back_bit_for_bit() {
        for symmetric in [false, true] {
            for bits in 2..=8_u8 {
                let encoding = Encoding::Quantized {
                    bits,
                    group_size: 64,
                    symmetric,
                };
                let Some(ggml_type) = lossless_type(&encoding) else {
                    assert!(bits == 8 && !symmetric);
                    continue;
                };
                let highest = (1_i32 << bits) - 1;
                let lowest = if symmetric {
                    -(highest / 2 + 1)
                } else {
                    -highest
                };
                let scales = [0.013, 1.7].map(f16::from_f32);
                let weights: Vec<f32> = (0..128)
                    .map(|i| {
                        let code = lowest + i % (highest + 1);
                        code as f32 * scales[i as usize / 64].to_f32()
                    })
                    .collect();
                let mut blocks = Vec::new();
                row(ggml_type, &weights, &scales, &mut blocks);
                let mut found = vec![0.0; 128];
                ggml_type.dequantize(&blocks, &mut found);
                assert_eq!(found, weights, "{bits} bits as {ggml_type}");
            }
        }
    }

    #[test]
    fn what_would_lose_something_stays_decoded() {
        let quantized = |bits, group_size, symmetric| {
            lossless_type(&Encoding::Quantized {
                bits,
                group_size,
                symmetric,
            })
        };
        assert_eq!(quantized(3, 128, false), Some(GgmlType::Q4_0));
        assert_eq!(quantized(4, 32, false), Some(GgmlType::Q5_0));
        assert_eq!(quantized(4, 32, true), Some(GgmlType::Q4_0));
        assert_eq!(quantized(8, 32, false), None);
        assert_eq!(quantized(4, 48, true), None);
    }
}
