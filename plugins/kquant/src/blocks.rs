//! Blocks of 32 weights: a scale in f16, in the `_1` types a minimum in f16, and codes.

use evopress_plugin::{GgmlType, half::f16};

use crate::fit::{self, nearest, ratio};

const LEN: usize = 32;

/// `Q4_0`, `Q5_0`, `Q8_0`: `d · (code − zero)`.
pub(crate) fn symmetric(
    ggml_type: GgmlType,
    weights: &[f32],
    importance: &[f32],
    packed: &mut Vec<u8>,
) {
    let zero = match ggml_type {
        GgmlType::Q4_0 => 8.0,
        GgmlType::Q5_0 => 16.0,
        _ => 128.0,
    };
    let scale = to_f16(fit::scale(weights, importance, -zero));
    let code = |x: f32| nearest(ratio(x, scale.to_f32()), -zero, zero - 1.0);
    packed.extend(scale.to_le_bytes());
    match ggml_type {
        GgmlType::Q8_0 => packed.extend(weights.iter().map(|x| code(*x) as i8 as u8)),
        _ => {
            let codes: Vec<u8> = weights.iter().map(|x| (code(*x) + zero) as u8).collect();
            push_codes(&codes, ggml_type == GgmlType::Q5_0, packed);
        }
    }
}

/// `Q4_1`, `Q5_1`: `d · code + m`.
pub(crate) fn affine(
    ggml_type: GgmlType,
    weights: &[f32],
    importance: &[f32],
    packed: &mut Vec<u8>,
) {
    let has_fifth = ggml_type == GgmlType::Q5_1;
    let high = if has_fifth { 31.0 } else { 15.0 };
    let (scale, minimum) = fit::scale_and_minimum(weights, importance, high, false);
    let (scale, minimum) = (to_f16(scale), to_f16(minimum));
    packed.extend(scale.to_le_bytes());
    packed.extend(minimum.to_le_bytes());
    let (s, m) = (scale.to_f32(), minimum.to_f32());
    let codes = weights.iter().map(|x| nearest(ratio(x - m, s), 0.0, high));
    let codes: Vec<u8> = codes.map(|code| code as u8).collect();
    push_codes(&codes, has_fifth, packed);
}

/// The fifth bits of all codes, where there are some, then nibbles: low ones of codes 0 to 15, high ones of 16 to 31.
fn push_codes(codes: &[u8], has_fifth: bool, packed: &mut Vec<u8>) {
    if has_fifth {
        let fifth = (0..LEN).fold(0_u32, |bits, at| bits | u32::from(codes[at] >> 4) << at);
        packed.extend(fifth.to_le_bytes());
    }
    packed.extend((0..LEN / 2).map(|at| codes[at] & 15 | codes[at + LEN / 2] << 4));
}

/// The nearest f16 that is finite.
pub(crate) fn to_f16(number: f32) -> f16 {
    f16::from_f32(number.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}
