//! Super-blocks of 256 weights: scales (and minima) of groups are themselves small whole numbers, in units of `d` (and `dmin`) in f16.
//!
//! First each group gets the scale (and minimum) that suits it best. The greatest of them set the units; then, in turn, each group takes the
//! whole numbers near its own with the least error, and the units are fitted again to all codes at once. The best turn is kept.

use evopress_plugin::GgmlType;

use crate::blocks::to_f16;
use crate::fit::{self, nearest, ratio};

const LEN: usize = 256;
/// How often units are fitted to codes and codes to units.
const NUM_TURNS: usize = 3;

/// Scales, minima and codes of a super-block.
#[derive(Clone)]
struct Quantized {
    unit: f32,
    minimum_unit: f32,
    scales: Vec<f32>,
    minima: Vec<f32>,
    codes: Vec<f32>,
    error: f32,
}

impl Quantized {
    fn new(num_groups: usize) -> Self {
        Self {
            unit: 0.0,
            minimum_unit: 0.0,
            scales: vec![0.0; num_groups],
            minima: vec![0.0; num_groups],
            codes: vec![0.0; LEN],
            error: f32::MAX,
        }
    }

    /// Gives group `at` the codes nearest to its weights at `scale` and `minimum` (in their units) if that is better than `error`.
    fn improve(
        &mut self,
        at: usize,
        (weights, importance): (&[f32], &[f32]),
        (scale, minimum): (f32, f32),
        (low, high): (f32, f32),
        error: &mut f32,
    ) {
        let (s, m) = (self.unit * scale, self.minimum_unit * minimum);
        let inverse = ratio(1.0, s);
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let code = |x: f32| nearest((x + m) * inverse, low, high);
        let found: f32 = weights
            .iter()
            .zip(importance)
            .map(|(x, v)| {
                let lost = x - (s * code(*x) - m);
                v * lost * lost
            })
            .sum();
        if found < *error {
            *error = found;
            (self.scales[at], self.minima[at]) = (scale, minimum);
            let codes = self.codes[at * weights.len()..].iter_mut();
            for (place, x) in codes.zip(weights) {
                *place = code(*x);
            }
        }
    }
}

/// `Q3_K`, `Q6_K`: `d · s · (code − zero)`, groups of 16.
pub(crate) fn symmetric(
    ggml_type: GgmlType,
    weights: &[f32],
    importance: &[f32],
    packed: &mut Vec<u8>,
) {
    const GROUP: usize = 16;
    let (zero, lowest) = match ggml_type {
        GgmlType::Q3K => (4.0, -32.0),
        _ => (32.0, -128.0),
    };
    let groups = || weights.chunks(GROUP).zip(importance.chunks(GROUP));
    let wanted: Vec<f32> = groups().map(|(x, v)| fit::scale(x, v, -zero)).collect();
    let extreme = wanted.iter().fold(
        0_f32,
        |most, s| if s.abs() > most.abs() { *s } else { most },
    );
    let mut tried = Quantized::new(LEN / GROUP);
    let mut best = tried.clone();
    tried.unit = to_f16(extreme / lowest).to_f32();
    for _ in 0..NUM_TURNS {
        tried.error = 0.0;
        for (at, group) in groups().enumerate() {
            let middle = nearest(ratio(wanted[at], tried.unit), lowest, -lowest - 1.0);
            let mut error = f32::MAX;
            for step in [0.0, -1.0, 1.0] {
                let scale = middle + step;
                if (lowest..-lowest).contains(&scale) {
                    tried.improve(at, group, (scale, 0.0), (-zero, zero - 1.0), &mut error);
                }
            }
            tried.error += error;
        }
        if tried.error < best.error {
            best = tried.clone();
        }
        let (mut xa, mut aa) = (0.0, 0.0);
        for (idx, (x, v)) in weights.iter().zip(importance).enumerate() {
            let a = tried.scales[idx / GROUP] * tried.codes[idx];
            xa += v * x * a;
            aa += v * a * a;
        }
        tried.unit = to_f16(ratio(xa, aa)).to_f32();
    }
    match ggml_type {
        GgmlType::Q3K => push_q3_k(&best, packed),
        _ => push_q6_k(&best, packed),
    }
}

/// `Q2_K`, `Q4_K`, `Q5_K`: `d · s · code − dmin · m`, groups of 16 or 32.
pub(crate) fn affine(
    ggml_type: GgmlType,
    weights: &[f32],
    importance: &[f32],
    packed: &mut Vec<u8>,
) {
    let (group_len, high, highest) = match ggml_type {
        GgmlType::Q2K => (16, 3.0, 15.0),
        GgmlType::Q4K => (32, 15.0, 63.0),
        _ => (32, 31.0, 63.0),
    };
    let groups = || weights.chunks(group_len).zip(importance.chunks(group_len));
    let wanted: Vec<(f32, f32)> = groups()
        .map(|(x, v)| fit::scale_and_minimum(x, v, high, true))
        .map(|(scale, minimum)| (scale, -minimum))
        .collect();
    let greatest = |of: fn(&(f32, f32)) -> f32| wanted.iter().map(of).fold(0.0, f32::max);
    let mut tried = Quantized::new(LEN / group_len);
    let mut best = tried.clone();
    tried.unit = to_f16(greatest(|it| it.0) / highest).to_f32();
    tried.minimum_unit = to_f16(greatest(|it| it.1) / highest).to_f32();
    for _ in 0..NUM_TURNS {
        tried.error = 0.0;
        for (at, group) in groups().enumerate() {
            let scale = nearest(ratio(wanted[at].0, tried.unit), 0.0, highest);
            let minimum = nearest(ratio(wanted[at].1, tried.minimum_unit), 0.0, highest);
            let mut error = f32::MAX;
            for step in [0.0, -1.0, 1.0] {
                for minimum_step in [0.0, -1.0, 1.0] {
                    let pair = (scale + step, minimum + minimum_step);
                    let is_in_range = |it: f32| (0.0..=highest).contains(&it);
                    if is_in_range(pair.0) && is_in_range(pair.1) {
                        tried.improve(at, group, pair, (0.0, high), &mut error);
                    }
                }
            }
            tried.error += error;
        }
        if tried.error < best.error {
            best = tried.clone();
        }
        fit_units(&mut tried, weights, importance);
    }
    match ggml_type {
        GgmlType::Q2K => push_q2_k(&best, packed),
        GgmlType::Q4K => push_q4_k(&best, packed),
        _ => push_q5_k(&best, packed),
    }
}

/// The units with the least error for the codes: `x ≈ unit · a − minimum_unit · b`.
fn fit_units(tried: &mut Quantized, weights: &[f32], importance: &[f32]) {
    let group_len = LEN / tried.scales.len();
    let (mut aa, mut ab, mut bb, mut xa, mut xb) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (idx, (x, v)) in weights.iter().zip(importance).enumerate() {
        let a = tried.scales[idx / group_len] * tried.codes[idx];
        let b = tried.minima[idx / group_len];
        aa += v * a * a;
        ab += v * a * b;
        bb += v * b * b;
        xa += v * x * a;
        xb += v * x * b;
    }
    let determinant = aa * bb - ab * ab;
    let (unit, minimum_unit) = match determinant > 0.0 {
        true => (
            (xa * bb - xb * ab) / determinant,
            (xa * ab - xb * aa) / determinant,
        ),
        false => (ratio(xa, aa), 0.0),
    };
    if unit > 0.0 && minimum_unit >= 0.0 {
        tried.unit = to_f16(unit).to_f32();
        tried.minimum_unit = to_f16(minimum_unit).to_f32();
    }
}

/// Two bits of each code: halves of 128, each in four planes of 32 bytes.
fn two_bits(codes: impl Fn(usize) -> u8) -> [u8; 64] {
    let mut bytes = [0; 64];
    for idx in 0..LEN {
        bytes[idx / 128 * 32 + idx % 32] |= (codes(idx) & 3) << (idx % 128 / 32 * 2);
    }
    bytes
}

/// Four bits of each code: quarters of 64, each in two planes of 32 bytes.
fn four_bits(codes: impl Fn(usize) -> u8) -> [u8; 128] {
    let mut bytes = [0; 128];
    for idx in 0..LEN {
        bytes[idx / 64 * 32 + idx % 32] |= (codes(idx) & 15) << (idx % 64 / 32 * 4);
    }
    bytes
}

fn push_q2_k(found: &Quantized, packed: &mut Vec<u8>) {
    let both = found.scales.iter().zip(&found.minima);
    packed.extend(both.map(|(scale, minimum)| *scale as u8 | (*minimum as u8) << 4));
    packed.extend(two_bits(|idx| found.codes[idx] as u8));
    packed.extend(to_f16(found.unit).to_le_bytes());
    packed.extend(to_f16(found.minimum_unit).to_le_bytes());
}

fn push_q3_k(found: &Quantized, packed: &mut Vec<u8>) {
    let code = |idx: usize| (found.codes[idx] + 4.0) as u8;
    let mut high = [0_u8; 32];
    for idx in 0..LEN {
        high[idx % 32] |= (code(idx) >> 2) << (idx / 32);
    }
    let mut scales = [0_u8; 12];
    for (group, scale) in found.scales.iter().enumerate() {
        let scale = (scale + 32.0) as u8;
        scales[group % 8] |= (scale & 15) << (group / 8 * 4);
        scales[8 + group % 4] |= (scale >> 4) << (group / 4 * 2);
    }
    packed.extend(high);
    packed.extend(two_bits(code));
    packed.extend(scales);
    packed.extend(to_f16(found.unit).to_le_bytes());
}

/// `d`, `dmin`, and eight scales and minima of six bits in 12 bytes.
fn push_units(found: &Quantized, packed: &mut Vec<u8>) {
    let mut bytes = [0_u8; 12];
    for group in 0..8 {
        let (scale, minimum) = (found.scales[group] as u8, found.minima[group] as u8);
        if group < 4 {
            bytes[group] |= scale;
            bytes[group + 4] |= minimum;
        } else {
            bytes[group + 4] |= scale & 15 | (minimum & 15) << 4;
            bytes[group - 4] |= (scale >> 4) << 6;
            bytes[group] |= (minimum >> 4) << 6;
        }
    }
    packed.extend(to_f16(found.unit).to_le_bytes());
    packed.extend(to_f16(found.minimum_unit).to_le_bytes());
    packed.extend(bytes);
}

fn push_q4_k(found: &Quantized, packed: &mut Vec<u8>) {
    push_units(found, packed);
    packed.extend(four_bits(|idx| found.codes[idx] as u8));
}

fn push_q5_k(found: &Quantized, packed: &mut Vec<u8>) {
    push_units(found, packed);
    let mut high = [0_u8; 32];
    for idx in 0..LEN {
        high[idx % 32] |= (found.codes[idx] as u8 >> 4) << (idx / 32);
    }
    packed.extend(high);
    packed.extend(four_bits(|idx| found.codes[idx] as u8));
}

fn push_q6_k(found: &Quantized, packed: &mut Vec<u8>) {
    let code = |idx: usize| (found.codes[idx] + 32.0) as u8;
    let mut low = [0_u8; 128];
    for idx in 0..LEN {
        low[idx / 128 * 64 + idx % 64] |= (code(idx) & 15) << (idx % 128 / 64 * 4);
    }
    packed.extend(low);
    packed.extend(two_bits(|idx| code(idx) >> 4));
    packed.extend(found.scales.iter().map(|scale| *scale as i8 as u8));
    packed.extend(to_f16(found.unit).to_le_bytes());
}
