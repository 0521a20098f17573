//! Scales and minima of a block, and the values that its weights can have.
//!
//! In all of ggml's formats here a weight of group `g` becomes
//! `unit · scale_g · q − minimum_unit · minimum_g` with a whole number `q` in a range. Blocks of 32
//! and 64 are one group with scale and minimum 1.

use evopress_plugin::half::f16;

use crate::fit::{iq4_code, iq4_value, nearest};

/// Groups of a block at most.
const MAX_GROUPS: usize = 16;

/// Scales and minima of a block. The units are exact in f16, the rest are whole numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub(crate) unit: f32,
    pub(crate) minimum_unit: f32,
    pub(crate) scales: [f32; MAX_GROUPS],
    pub(crate) minima: [f32; MAX_GROUPS],
}

impl Grid {
    /// Units, and 1 for all scales and minima.
    pub(crate) fn new(unit: f32, minimum_unit: f32) -> Self {
        Self {
            unit: to_f16(unit).to_f32(),
            minimum_unit: to_f16(minimum_unit).to_f32(),
            scales: [1.0; MAX_GROUPS],
            minima: [1.0; MAX_GROUPS],
        }
    }
}

/// The values of a group's codes: `step · q − offset`, or `step · c[q]` with a codebook `c`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values {
    pub(crate) step: f32,
    pub(crate) offset: f32,
    /// `1 / step`; 0 where all codes have one value.
    pub(crate) inverse: f32,
    pub(crate) has_codebook: bool,
}

impl Values {
    /// The code of the nearest value.
    pub(crate) fn code(&self, x: f32, (low, high): (f32, f32)) -> f32 {
        match self.has_codebook {
            true => iq4_code(x * self.inverse),
            false => nearest((x + self.offset) * self.inverse, low, high),
        }
    }

    /// The value of a code.
    pub(crate) fn of(&self, code: f32) -> f32 {
        match self.has_codebook {
            true => self.step * iq4_value(code),
            false => self.step * code - self.offset,
        }
    }
}

/// The nearest f16 that is finite.
pub(crate) fn to_f16(number: f32) -> f16 {
    f16::from_f32(number.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}
