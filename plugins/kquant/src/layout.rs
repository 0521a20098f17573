//! Bytes of blocks: ggml's structures.

use evopress_plugin::GgmlType;

use crate::format::Format;
use crate::grid::{Grid, to_f16};

/// The bytes of a row's blocks, appended to `packed`: the nearest codes on the blocks' grids.
pub(crate) fn push_row(format: &Format, grids: &[Grid], weights: &[f32], packed: &mut Vec<u8>) {
    for (grid, weights) in grids.iter().zip(weights.chunks(format.len)) {
        push(format, grid, &format.codes(grid, weights), packed);
    }
}

/// The bytes of one block.
fn push(format: &Format, grid: &Grid, codes: &[f32], packed: &mut Vec<u8>) {
    let codes: Vec<u8> = match format.ggml_type {
        GgmlType::Q8_0 => codes.iter().map(|code| *code as i8 as u8).collect(),
        _ => codes.iter().map(|code| (code - format.low) as u8).collect(),
    };
    match format.ggml_type {
        GgmlType::Q2_0 => push_q2_0(grid, &codes, packed),
        GgmlType::Q2K => push_q2_k(grid, &codes, packed),
        GgmlType::Q3K => push_q3_k(grid, &codes, packed),
        GgmlType::Q4K => push_q4_k(grid, &codes, packed),
        GgmlType::Q5K => push_q5_k(grid, &codes, packed),
        GgmlType::Q6K => push_q6_k(grid, &codes, packed),
        GgmlType::Iq4Xs => push_iq4_xs(grid, &codes, packed),
        _ => push_block(format.ggml_type, grid, &codes, packed),
    }
}

/// `d`, in the `_1` types `m`, the fifth bits of all codes, where there are some, then nibbles: low
/// ones of codes 0 to 15, high ones of 16 to 31; or bytes.
fn push_block(ggml_type: GgmlType, grid: &Grid, codes: &[u8], packed: &mut Vec<u8>) {
    push_f16(grid.unit, packed);
    if matches!(ggml_type, GgmlType::Q4_1 | GgmlType::Q5_1) {
        push_f16(-grid.minimum_unit, packed);
    }
    if ggml_type == GgmlType::Q8_0 {
        packed.extend(codes);
        return;
    }
    if matches!(ggml_type, GgmlType::Q5_0 | GgmlType::Q5_1) {
        let codes = codes.iter().enumerate();
        let fifth = codes.fold(0_u32, |bits, (at, code)| bits | u32::from(code >> 4) << at);
        packed.extend(fifth.to_le_bytes());
    }
    let (low, high) = codes.split_at(codes.len() / 2);
    packed.extend(low.iter().zip(high).map(|(low, high)| low & 15 | high << 4));
}

/// Here codes go from −1 to 2, not from −2 to 1: with the scale negated it is the same. Four codes
/// a byte.
fn push_q2_0(grid: &Grid, codes: &[u8], packed: &mut Vec<u8>) {
    push_f16(-grid.unit, packed);
    let bytes = codes.chunks(4).map(|codes| {
        let codes = codes.iter().enumerate();
        codes.fold(0, |byte, (at, code)| byte | (3 - code) << (at * 2))
    });
    packed.extend(bytes);
}

fn push_q2_k(grid: &Grid, codes: &[u8], packed: &mut Vec<u8>) {
    let both = grid.scales.iter().zip(&grid.minima);
    packed.extend(both.map(|(scale, minimum)| *scale as u8 | (*minimum as u8) << 4));
    packed.extend(two_bits(codes.iter().copied()));
    push_f16(grid.unit, packed);
    push_f16(grid.minimum_unit, packed);
}

fn push_q3_k(grid: &Grid, codes: &[u8], packed: &mut Vec<u8>) {
    let mut high = [0_u8; 32];
    for (idx, code) in codes.iter().enumerate() {
        high[idx % 32] |= (code >> 2) << (idx / 32);
    }
    let mut scales = [0_u8; 12];
    for (group, scale) in grid.scales.iter().enumerate() {
        let scale = (scale + 32.0) as u8;
        scales[group % 8] |= (scale & 15) << (group / 8 * 4);
        scales[8 + group % 4] |= (scale >> 4) << (group / 4 * 2);
    }
    packed.extend(high);
    packed.extend(two_bits(codes.iter().copied()));
    packed.extend(scales);
    push_f16(grid.unit, packed);
}

fn push_q4_k(grid: &Grid, codes: &[u8], packed: &mut Vec<u8>) {
    push_units(grid, packed);
    packed.extend(four_bits(codes));
}

fn push_q5_k(grid: &Grid, codes: &[u8], packed: &mut Vec<u8>) {
    push_units(grid, packed);
    let mut high = [0_u8; 32];
    for (idx, code) in codes.iter().enumerate() {
        high[idx % 32] |= (code >> 4) << (idx / 32);
    }
    packed.extend(high);
    packed.extend(four_bits(codes));
}

fn push_q6_k(grid: &Grid, codes: &[u8], packed: &mut Vec<u8>) {
    let mut low = [0_u8; 128];
    for (idx, code) in codes.iter().enumerate() {
        low[idx / 128 * 64 + idx % 64] |= (code & 15) << (idx % 128 / 64 * 4);
    }
    packed.extend(low);
    packed.extend(two_bits(codes.iter().map(|code| code >> 4)));
    packed.extend(grid.scales.iter().map(|scale| *scale as i8 as u8));
    push_f16(grid.unit, packed);
}

fn push_f16(number: f32, packed: &mut Vec<u8>) {
    packed.extend(to_f16(number).to_le_bytes());
}

/// `d`, `dmin`, and eight scales and minima of six bits in 12 bytes.
fn push_units(grid: &Grid, packed: &mut Vec<u8>) {
    let mut bytes = [0_u8; 12];
    for group in 0..8 {
        let (scale, minimum) = (grid.scales[group] as u8, grid.minima[group] as u8);
        if group < 4 {
            bytes[group] |= scale;
            bytes[group + 4] |= minimum;
        } else {
            bytes[group + 4] |= scale & 15 | (minimum & 15) << 4;
            bytes[group - 4] |= (scale >> 4) << 6;
            bytes[group] |= (minimum >> 4) << 6;
        }
    }
    push_f16(grid.unit, packed);
    push_f16(grid.minimum_unit, packed);
    packed.extend(bytes);
}

/// Two bits of each code: halves of 128, each in four planes of 32 bytes.
fn two_bits(codes: impl Iterator<Item = u8>) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (idx, code) in codes.enumerate() {
        bytes[idx / 128 * 32 + idx % 32] |= (code & 3) << (idx % 128 / 32 * 2);
    }
    bytes
}

/// Four bits of each code: quarters of 64, each in two planes of 32 bytes.
fn four_bits(codes: &[u8]) -> [u8; 128] {
    let mut bytes = [0; 128];
    for (idx, code) in codes.iter().enumerate() {
        bytes[idx / 64 * 32 + idx % 32] |= (code & 15) << (idx % 64 / 32 * 4);
    }
    bytes
}

/// `d`, high bits of the scales, low bits, then 16 bytes of nibbles for each group.
fn push_iq4_xs(grid: &Grid, codes: &[u8], packed: &mut Vec<u8>) {
    push_f16(grid.unit, packed);
    let scales: Vec<u8> = grid.scales[..8]
        .iter()
        .map(|it| (it + 32.0) as u8)
        .collect();
    let high = scales.iter().enumerate();
    let high = high.fold(0, |bits, (at, scale)| {
        bits | u16::from(scale >> 4) << (at * 2)
    });
    packed.extend(high.to_le_bytes());
    packed.extend(scales.chunks(2).map(|pair| pair[0] & 15 | pair[1] << 4));
    for codes in codes.chunks(32) {
        let (low, high) = codes.split_at(16);
        packed.extend(low.iter().zip(high).map(|(low, high)| low | high << 4));
    }
}
