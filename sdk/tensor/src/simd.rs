//! Building blocks of the CPU kernels: runtime dispatch on the instruction set, bf16 conversion, a
//! vectorisable `exp`.
//!
//! The kernels are plain loops over slices that the compiler vectorises; [`simd_fn!`] compiles each
//! for AVX-512, AVX2 and the baseline and picks one at run time.

use std::f32::consts::{LN_2, LOG2_E};

use half::bf16;

/// Defines a function compiled for several instruction sets, dispatched once per call.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$generic:ident: $bound:ident>)? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn generic $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512 $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $ret)? { generic($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $ret)? { generic($($arg),*) }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the features that the function is compiled for were just detected.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            generic($($arg),*)
        }
    };
}
pub(crate) use simd_fn;

/// A number as weights and activations are stored; arithmetic is in f32.
pub trait Element: Copy + Send + Sync + 'static {
    /// The number in f32.
    fn load(self) -> f32;
    /// A number in f32, rounded.
    fn store(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn load(self) -> f32 {
        self
    }
    #[inline(always)]
    fn store(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    /// Rounds to nearest even, without `half`'s branch on NaN, so that loops vectorise; a quiet NaN
    /// stays one.
    #[inline(always)]
    fn store(value: f32) -> Self {
        let bits = value.to_bits();
        bf16::from_bits((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }
}

/// Numbers of a vector register; loops over arrays of so many have no remainder.
pub(crate) const VECTOR: usize = 16;

/// Independent accumulators of a reduction, so that it vectorises.
pub(crate) const LANES: usize = 2 * VECTOR;

/// `eˣ` to about one unit in the last place for x within ±87, and what it is at ±87 beyond.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// What f32 loses of `log₂ e`.
    const LOG2_E_REST: f32 = 1.925_963e-8;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    // Of the product with `log₂ e` only what is left of the integer is rounded.
    power_of_two(shifted, x.mul_add(LOG2_E_REST, x.mul_add(LOG2_E, -n)))
}

/// `2ˣ` to about one unit in the last place for x within ±126, and what it is at ±126 beyond. With
/// `x = y · log₂ e` it is `exp(y)` but for the rounding of x, in fewer operations.
#[inline(always)]
pub(crate) fn exp2(x: f32) -> f32 {
    let x = x.clamp(-126.0, 126.0);
    let shifted = x + ROUND;
    power_of_two(shifted, x - (shifted - ROUND))
}

/// `tanh(x)` to about 1e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp2(2.0 * LOG2_E * x))
}

/// 1.5·2²³: adding it to a number leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `2ⁿ · 2ᶠ` for f within ±½ and `shifted = n + ROUND`.
#[inline(always)]
fn power_of_two(shifted: f32, fraction: f32) -> f32 {
    // The polynomial of degree 6 with the smallest relative error on ±½ (2e-9), found by reweighted least squares.
    let mut p = 1.535_336_2e-4_f32;
    for coefficient in [
        1.339_887_5e-3,
        9.618_437e-3,
        5.550_332_4e-2,
        0.240_226_48,
        LN_2,
        1.0,
    ] {
        p = p.mul_add(fraction, coefficient);
    }
    // Adds n to the exponent: all of `shifted` but its low bits leaves on the left.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// Largest of `values`, −∞ if there are none.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let largest = chunks
        .remainder()
        .iter()
        .fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    largest.max(fold(lanes, |a, b| if b > a { b } else { a }))
}

/// `Σ f(value)` with a fixed order of summation.
#[inline(always)]
pub(crate) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let total = chunks.remainder().iter().fold(0.0, |a, &b| a + f(b));
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f(value);
        }
    }
    total + fold(lanes, |a, b| a + b)
}

/// Folds accumulators pairwise: one after the other, each step would wait for the one before.
#[inline(always)]
pub(crate) fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let lanes: [f32; 16] = std::array::from_fn(|i| f(lanes[i], lanes[i + 16]));
    let lanes: [f32; 8] = std::array::from_fn(|i| f(lanes[i], lanes[i + 8]));
    let lanes: [f32; 4] = std::array::from_fn(|i| f(lanes[i], lanes[i + 4]));
    f(f(lanes[0], lanes[2]), f(lanes[1], lanes[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_accurate_to_a_few_units_in_the_last_place() {
        let mut x = -86.9_f32;
        while x < 86.9 {
            for (found, expected) in [(exp(x), f64::from(x).exp()), (exp2(x), f64::from(x).exp2())]
            {
                let relative = (f64::from(found) - expected).abs() / expected;
                assert!(relative < 3e-7, "at {x}: off by {relative:e}");
            }
            x += 0.0137;
        }
        assert!(exp(-200.0) < 2e-38 && exp(200.0) > 5e37);
        assert!(exp2(-200.0) < 2e-38 && exp2(200.0) > 5e37);
    }

    #[test]
    fn bf16_store_rounds_like_half() {
        for bits in (0..u32::MAX).step_by(65_521) {
            let value = f32::from_bits(bits);
            if value.is_finite() {
                assert_eq!(
                    <bf16 as Element>::store(value),
                    bf16::from_f32(value),
                    "{value}"
                );
            }
        }
    }
}
