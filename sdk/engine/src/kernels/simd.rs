//! Building blocks of the CPU kernels: runtime dispatch on the instruction set, bf16 conversion, a vectorisable `exp`.
//!
//! The kernels are plain loops over slices that the compiler vectorises; [`simd_fn!`] compiles each for AVX-512, AVX2
//! and the baseline and picks one at run time.

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
pub(crate) trait Element: Copy + Send + Sync + 'static {
    fn load(self) -> f32;
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
    /// Rounds to nearest even, without `half`'s branch on NaN, so that loops vectorise; a quiet NaN stays one.
    #[inline(always)]
    fn store(value: f32) -> Self {
        let bits = value.to_bits();
        bf16::from_bits((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }
}

/// Independent accumulators of a reduction, so that it vectorises.
pub(crate) const LANES: usize = 32;

/// `eˣ` to about one unit in the last place for x ≤ 88; 0 below −87.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it leaves the nearest integer in the low bits
    const LN2_HIGH: f32 = 0.693_359_4; // few bits, so that its product with an integer is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let mantissa = p * r * r + r + 1.0;
    let exponent = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    let result = mantissa * f32::from_bits(exponent);
    if x < -87.0 { 0.0 } else { result }
}

/// Largest of `values`, −∞ if there are none.
#[inline(always)]
pub(crate) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let mut largest = chunks
        .remainder()
        .iter()
        .fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    for lane in lanes {
        largest = largest.max(lane);
    }
    largest
}

/// `Σ f(value)` with a fixed order of summation.
#[inline(always)]
pub(crate) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let mut total = chunks.remainder().iter().fold(0.0, |a, &b| a + f(b));
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f(value);
        }
    }
    for lane in lanes {
        total += lane;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_to_a_few_units_in_the_last_place() {
        let mut x = -86.9_f32;
        while x < 87.9 {
            let expected = f64::from(x).exp();
            let relative = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(relative < 3e-7, "exp({x}) is off by {relative:e}");
            x += 0.0137;
        }
        assert_eq!(exp(-200.0), 0.0);
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
