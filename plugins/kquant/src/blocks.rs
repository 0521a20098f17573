//! Blocks of 32 or 64 weights: a scale in f16, and in the `_1` types a minimum in f16.

use crate::fit;
use crate::format::Format;
use crate::grid::Grid;

/// `Q2_0`, `Q4_0`, `Q5_0`, `Q8_0`, `IQ4_NL`: `d · q`.
pub(crate) fn symmetric(format: &Format, weights: &[f32], importance: &[f32]) -> Grid {
    Grid::new(fit::scale(weights, importance, format.multiples()), 0.0)
}

/// `Q4_1`, `Q5_1`: `d · q + m`.
pub(crate) fn affine(format: &Format, weights: &[f32], importance: &[f32]) -> Grid {
    let (scale, minimum) = fit::scale_and_minimum(weights, importance, format.high, false);
    Grid::new(scale, -minimum)
}
