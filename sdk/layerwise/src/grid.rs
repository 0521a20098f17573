//! The uniform grid of a group of weights.
//!
//! A weight is `(code − zero) · scale` with codes `0 ..= 2^bits − 1`. The grid spans the group's
//! least and greatest weight, and zero: `scale = (max − min) / (2^bits − 1)`,
//! `zero = round(−min / scale)`; a symmetric one spans `±max |w|` with `zero = 2^(bits − 1)`. The
//! scale is stored as f16, so it is rounded to f16 before anything is computed with it.

use evopress_plugin::half::f16;

/// The least positive f16, and so the least scale.
pub const MIN_SCALE: f32 = 5.960_464_5e-8;
/// The greatest f16, and so the greatest scale.
pub const MAX_SCALE: f32 = 65504.0;

/// The highest code of a bit width.
pub fn highest_code(bits: u8) -> f32 {
    ((1_u32 << bits) - 1) as f32
}

/// A group's scale and zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Distance of neighbouring values; exact in f16, positive.
    pub scale: f32,
    /// The code of 0; whole.
    pub zero: f32,
}

impl Grid {
    /// The grid of some weights.
    pub fn fit(weights: &[f32], bits: u8, symmetric: bool) -> Self {
        let (mut least, mut greatest) = (0_f32, 0_f32);
        for &weight in weights {
            least = least.min(weight);
            greatest = greatest.max(weight);
        }
        let highest = highest_code(bits);
        if symmetric {
            greatest = greatest.max(-least);
            least = -greatest;
        }
        // Halves, since the difference of two finite numbers may not be finite.
        let span = 2.0 * ((greatest / 2.0 - least / 2.0) / highest);
        let scale = match least == greatest {
            true => 1.0,
            false => f16::from_f32(span.clamp(MIN_SCALE, MAX_SCALE)).to_f32(),
        };
        let zero = match symmetric {
            true => f32::from(1_u16 << (bits - 1)),
            false => (-least / scale).round_ties_even().clamp(0.0, highest),
        };
        Grid { scale, zero }
    }

    /// The code of the value next to a weight.
    pub fn code(self, weight: f32, bits: u8) -> u8 {
        let code = (weight / self.scale + self.zero).clamp(0.0, highest_code(bits));
        code.round_ties_even() as u8
    }

    /// The value of a code.
    pub fn value(self, code: u8) -> f32 {
        (f32::from(code) - self.zero) * self.scale
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grids_span_the_weights_and_zero() {
        let fit = |weights: &[f32], bits, symmetric| {
            let grid = Grid::fit(weights, bits, symmetric);
            (grid.scale, grid.zero)
        };
        assert_eq!(fit(&[-1.0, 2.0], 2, false), (1.0, 1.0));
        assert_eq!(fit(&[1.5, 3.0], 2, false), (1.0, 0.0));
        assert_eq!(fit(&[-3.0, -1.0], 2, false), (1.0, 3.0));
        assert_eq!(fit(&[-1.0, 1.5], 2, true), (1.0, 2.0));
        assert_eq!(fit(&[0.0, 0.0], 3, false), (1.0, 0.0));
        assert_eq!(fit(&[0.0, 0.0], 3, true), (1.0, 4.0));
    }

    #[test]
    fn scales_stay_within_f16() {
        assert_eq!(Grid::fit(&[0.0, 1e-12], 4, false).scale, MIN_SCALE);
        assert_eq!(Grid::fit(&[f32::MIN, f32::MAX], 4, false).scale, MAX_SCALE);
        assert_eq!(f16::from_f32(MIN_SCALE).to_bits(), 1);
        assert_eq!(f16::from_f32(MAX_SCALE), f16::MAX);
    }

    proptest! {
        #[test]
        fn a_weight_is_at_most_half_a_step_away(weights in proptest::collection::vec(-4_f32..4.0, 1..40), bits in 2_u8..=8) {
            let grid = Grid::fit(&weights, bits, false);
            for &weight in &weights {
                let error = (grid.value(grid.code(weight, bits)) - weight).abs();
                // Rounding the scale to f16 and the zero to a whole number may cut off a little at
                // either end.
                let slack = highest_code(bits) * grid.scale / 2048.0 + 0.5 * grid.scale;
                prop_assert!(error <= 0.5 * grid.scale + slack, "{weight} by {error}, scale {}", grid.scale);
            }
        }
    }
}
