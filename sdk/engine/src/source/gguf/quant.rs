//! De-quantization of ggml's block formats, all to f32, in the order of operations of the reference (f32 throughout), so
//! that the results are the same bit for bit.

use std::thread;

use half::f16;
use tch::{Device, Kind, TchError, Tensor};

/// For messages.
pub(super) const SUPPORTED: &str =
    "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K";

/// Below this many weights a second thread costs more than it saves.
const MIN_WEIGHTS_PER_THREAD: usize = 1 << 16;

/// How a tensor's weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Encoding {
    /// ggml's number of a type.
    pub(super) fn from_id(type_id: u32) -> Option<Self> {
        Some(match type_id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Weights in a block.
    pub(super) fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    fn decode_block(self) -> fn(&[u8], &mut [f32]) {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => |_, _| (),
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
        }
    }
}

/// Name of a type by ggml's number, as far as we know it.
pub(super) fn type_name(type_id: u32) -> String {
    let name = match type_id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        30 => "BF16",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("number {type_id}"),
    };
    name.into()
}

/// The tensor of `shape` that `bytes` encode; `bytes` has exactly its blocks.
pub(super) fn decode(encoding: Encoding, bytes: &[u8], shape: &[i64]) -> Result<Tensor, TchError> {
    let plain = match encoding {
        Encoding::F32 => Some(Kind::Float),
        Encoding::F16 => Some(Kind::Half),
        Encoding::Bf16 => Some(Kind::BFloat16),
        _ => None,
    };
    if let Some(kind) = plain {
        return Tensor::f_from_data_size(bytes, shape, kind);
    }
    let tensor = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
    // SAFETY: a fresh contiguous f32 tensor on the CPU, alive to the end of this function and known to nobody else; every
    // bit pattern is an f32.
    let weights =
        unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), tensor.numel()) };
    decode_into(encoding, bytes, weights);
    Ok(tensor)
}

fn decode_into(encoding: Encoding, bytes: &[u8], weights: &mut [f32]) {
    let (block_len, block_bytes, decode_block) = (
        encoding.block_len(),
        encoding.block_bytes(),
        encoding.decode_block(),
    );
    assert_eq!(
        weights.len() / block_len * block_bytes,
        bytes.len(),
        "the blocks of a tensor fill it"
    );
    let available = thread::available_parallelism().map_or(1, usize::from);
    let num_threads = available.min(weights.len() / MIN_WEIGHTS_PER_THREAD).max(1);
    let blocks_per_thread = (weights.len() / block_len).div_ceil(num_threads).max(1);
    thread::scope(|scope| {
        let parts = weights
            .chunks_mut(blocks_per_thread * block_len)
            .zip(bytes.chunks(blocks_per_thread * block_bytes));
        let mut work = parts.map(|(weights, bytes)| {
            move || {
                for (weights, block) in weights
                    .chunks_exact_mut(block_len)
                    .zip(bytes.chunks_exact(block_bytes))
                {
                    decode_block(block, weights);
                }
            }
        });
        let own = work.next();
        work.for_each(|part| drop(scope.spawn(part)));
        if let Some(mut part) = own {
            part();
        }
    });
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

/// Weight `idx` of 256 in four-bit codes of Q4_K and Q5_K: quarters of 64, each in two planes of 32 bytes.
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
