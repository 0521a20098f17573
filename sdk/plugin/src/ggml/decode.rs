//! From the bytes of a block to its weights, all in f32 and in the order of operations of the
//! reference, so that the results are the same bit for bit.

use half::{bf16, f16};

use super::{GgmlType, IQ4_VALUES};

impl GgmlType {
    /// The weights of whole blocks.
    ///
    /// # Panics
    /// If `bytes` are not exactly the blocks of as many weights as `weights` has room for.
    pub fn dequantize(self, bytes: &[u8], weights: &mut [f32]) {
        let (block_len, block_bytes) = (self.block_len(), self.block_bytes());
        assert!(
            weights.len().is_multiple_of(block_len)
                && weights.len() / block_len * block_bytes == bytes.len(),
            "{} bytes of {} blocks for {} weights",
            bytes.len(),
            self.name(),
            weights.len()
        );
        let decode_block = self.decode_block();
        let blocks = bytes.chunks_exact(block_bytes);
        for (weights, block) in weights.chunks_exact_mut(block_len).zip(blocks) {
            decode_block(block, weights);
        }
    }

    fn decode_block(self) -> fn(&[u8], &mut [f32]) {
        match self {
            Self::F32 => |block, weights| {
                weights[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            },
            Self::F16 => |block, weights| weights[0] = scale(block, 0),
            Self::Bf16 => |block, weights| {
                weights[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32();
            },
            Self::Q2_0 => q2_0,
            Self::Q4_0 => q4_0,
            Self::Q4_1 => q4_1,
            Self::Q5_0 => q5_0,
            Self::Q5_1 => q5_1,
            Self::Q8_0 => q8_0,
            Self::Q2K => q2_k,
            Self::Q3K => q3_k,
            Self::Q4K => q4_k,
            Self::Q5K => q5_k,
            Self::Q6K => q6_k,
            Self::Iq4Nl => iq4_nl,
            Self::Iq4Xs => iq4_xs,
        }
    }
}

fn scale(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn q8_0(block: &[u8], weights: &mut [f32]) {
    let d = scale(block, 0);
    for (weight, &code) in weights.iter_mut().zip(&block[2..]) {
        *weight = f32::from(code as i8) * d;
    }
}

/// Four weights a byte, the first in the lowest bits.
fn q2_0(block: &[u8], weights: &mut [f32]) {
    let d = scale(block, 0);
    for (idx, weight) in weights.iter_mut().enumerate() {
        let code = block[2 + idx / 4] >> (idx % 4 * 2) & 3;
        *weight = (f32::from(code) - 1.0) * d;
    }
}

/// Nibbles of 16 bytes: the low ones are weights 0 to 15, the high ones 16 to 31.
fn nibbles(codes: &[u8], weights: &mut [f32], value: impl Fn(usize, u8) -> f32) {
    for (idx, &byte) in codes.iter().enumerate() {
        weights[idx] = value(idx, byte & 15);
        weights[idx + 16] = value(idx + 16, byte >> 4);
    }
}

fn q4_0(block: &[u8], weights: &mut [f32]) {
    let d = scale(block, 0);
    nibbles(&block[2..], weights, |_, code| {
        f32::from(code as i8 - 8) * d
    });
}

fn q4_1(block: &[u8], weights: &mut [f32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    nibbles(&block[4..], weights, |_, code| f32::from(code) * d + m);
}

fn q5_0(block: &[u8], weights: &mut [f32]) {
    let (d, high) = (scale(block, 0), u32_at(block, 2));
    nibbles(&block[6..], weights, |idx, code| {
        f32::from(five_bits(high, idx, code) as i8 - 16) * d
    });
}

fn q5_1(block: &[u8], weights: &mut [f32]) {
    let (d, m, high) = (scale(block, 0), scale(block, 2), u32_at(block, 4));
    nibbles(&block[8..], weights, |idx, code| {
        f32::from(five_bits(high, idx, code)) * d + m
    });
}

fn five_bits(high: u32, idx: usize, low: u8) -> u8 {
    low | (((high >> idx) & 1) as u8) << 4
}

/// Weight `idx` of 256 in two-bit codes: halves of 128, each in four planes of 32 bytes.
fn two_bits(codes: &[u8], idx: usize) -> u8 {
    (codes[idx / 128 * 32 + idx % 32] >> (idx % 128 / 32 * 2)) & 3
}

/// Weight `idx` of 256 in four-bit codes of Q4_K and Q5_K: quarters of 64, each in two planes of 32
/// bytes.
fn four_bits(codes: &[u8], idx: usize) -> u8 {
    (codes[idx / 64 * 32 + idx % 32] >> (idx % 64 / 32 * 4)) & 15
}

/// scales[16], codes[64], d, dmin
fn q2_k(block: &[u8], weights: &mut [f32]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (d, dmin) = (scale(block, 80), scale(block, 82));
    for (group, weights) in weights.chunks_exact_mut(16).enumerate() {
        let step = d * f32::from(scales[group] & 15);
        let min = dmin * f32::from(scales[group] >> 4);
        for (lane, weight) in weights.iter_mut().enumerate() {
            *weight = step * f32::from(two_bits(codes, group * 16 + lane)) - min;
        }
    }
}

/// high bits[32], codes[64], scales[12] (16 of 6 bits), d
fn q3_k(block: &[u8], weights: &mut [f32]) {
    let (high, codes, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = scale(block, 108);
    for (group, weights) in weights.chunks_exact_mut(16).enumerate() {
        let low = (packed[group % 8] >> (group / 8 * 4)) & 15;
        let top = (packed[8 + group % 4] >> (group / 4 * 2)) & 3;
        let step = d * f32::from((low | top << 4) as i8 - 32);
        for (lane, weight) in weights.iter_mut().enumerate() {
            let idx = group * 16 + lane;
            // A clear high bit takes 4 away.
            let high = (high[idx % 32] >> (idx / 32)) & 1;
            let code = two_bits(codes, idx) as i8 - if high == 0 { 4 } else { 0 };
            *weight = step * f32::from(code);
        }
    }
}

/// Scale and minimum of group 0 to 7, six bits each, from 12 bytes.
fn scale_and_min(packed: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (packed[group] & 63, packed[group + 4] & 63);
    }
    let both = packed[group + 4];
    (
        both & 15 | packed[group - 4] >> 6 << 4,
        both >> 4 | packed[group] >> 6 << 4,
    )
}

/// d, dmin, scales and mins[12], codes[128]
fn q4_k(block: &[u8], weights: &mut [f32]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let (packed, codes) = (&block[4..16], &block[16..]);
    for (group, weights) in weights.chunks_exact_mut(32).enumerate() {
        let (step, min) = scale_and_min(packed, group);
        let (step, min) = (d * f32::from(step), dmin * f32::from(min));
        for (lane, weight) in weights.iter_mut().enumerate() {
            *weight = step * f32::from(four_bits(codes, group * 32 + lane)) - min;
        }
    }
}

/// d, dmin, scales and mins[12], high bits[32], codes[128]
fn q5_k(block: &[u8], weights: &mut [f32]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let (packed, high, codes) = (&block[4..16], &block[16..48], &block[48..]);
    for (group, weights) in weights.chunks_exact_mut(32).enumerate() {
        let (step, min) = scale_and_min(packed, group);
        let (step, min) = (d * f32::from(step), dmin * f32::from(min));
        for (lane, weight) in weights.iter_mut().enumerate() {
            let code = four_bits(codes, group * 32 + lane) | ((high[lane] >> group) & 1) << 4;
            *weight = step * f32::from(code) - min;
        }
    }
}

/// low bits[128], high bits[64], scales[16], d
fn q6_k(block: &[u8], weights: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = scale(block, 208);
    for (group, weights) in weights.chunks_exact_mut(16).enumerate() {
        let step = d * f32::from(scales[group] as i8);
        for (lane, weight) in weights.iter_mut().enumerate() {
            let idx = group * 16 + lane;
            let nibble = (low[idx / 128 * 64 + idx % 64] >> (idx % 128 / 64 * 4)) & 15;
            let code = nibble | two_bits(high, idx) << 4;
            *weight = step * f32::from(code as i8 - 32);
        }
    }
}

fn iq4_nl(block: &[u8], weights: &mut [f32]) {
    let d = scale(block, 0);
    nibbles(&block[2..], weights, |_, code| {
        d * f32::from(IQ4_VALUES[code as usize])
    });
}

/// d, high bits of scales[2], low bits of scales[4], codes[128]
fn iq4_xs(block: &[u8], weights: &mut [f32]) {
    let d = scale(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    let (low, codes) = (&block[4..8], &block[8..]);
    let groups = weights.chunks_exact_mut(32).zip(codes.chunks_exact(16));
    for (group, (weights, codes)) in groups.enumerate() {
        let low = low[group / 2] >> (group % 2 * 4) & 15;
        let high = (high >> (group * 2) & 3) as u8;
        let step = d * f32::from((low | high << 4) as i8 - 32);
        nibbles(codes, weights, |_, code| {
            step * f32::from(IQ4_VALUES[code as usize])
        });
    }
}
