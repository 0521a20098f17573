//! Rotary frequencies that a GGUF file gives by their divisors.

use std::f64::consts::PI;

use crate::spec::{Rope, RopeScaling};

/// The rule that Llama 3 derives its factors by, where `factors` follow it:
/// `1 / f = (1 − s) / factor + s` with `s` a line in the number of turns, clamped to 0 and 1.
///
/// Of the rule's three other numbers only the line's two can be told, so `low_freq_factor` is 1, as
/// in every published model; so is a `high_freq_factor` of 4 where just one factor is on the line.
pub(super) fn llama3_of(factors: &[f64], theta: f64) -> Option<RopeScaling> {
    let rope = |scaling| Rope {
        theta,
        scaling,
        width: 2 * factors.len() as i64,
    };
    let frequencies = |scaling| rope(scaling).inverse_frequencies(1);
    let plain = frequencies(RopeScaling::None);
    let factor = round(factors.iter().copied().fold(1.0, f64::max));
    let unscaled = |f: f64| (1.0 / f - 1.0 / factor) / (1.0 - 1.0 / factor);
    let ramp: Vec<(f64, f64)> = plain
        .iter()
        .zip(factors)
        .map(|(frequency, &f)| (frequency / (2.0 * PI), unscaled(f)))
        .filter(|(_, unscaled)| (1e-4..1.0 - 1e-4).contains(unscaled))
        .collect();
    let (&(x0, y0), &(x1, y1)) = (ramp.first()?, ramp.last()?);
    // From `s = (turns · context − 1) / span`.
    let (span, context) = if ramp.len() == 1 {
        (3.0, (1.0 + 3.0 * y0) / x0)
    } else {
        let slope = (y1 - y0) / (x1 - x0);
        let span = 1.0 / (slope * x0 - y0);
        (span, slope * span)
    };
    let scaling = RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: round(1.0 + span),
        original_max_position_embeddings: round(context),
    };
    let scaled = frequencies(scaling.clone());
    let fits = plain
        .iter()
        .zip(&scaled)
        .zip(factors)
        .all(|((plain, scaled), factor)| (plain / scaled / factor - 1.0).abs() < 1e-5);
    fits.then_some(scaling)
}

/// The integer that a number computed from 32-bit ones stands for, if it is near one.
fn round(number: f64) -> f64 {
    let near = (number - number.round()).abs() < 1e-4 * number.abs();
    if near { number.round() } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_is_recognized_by_its_factors() {
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        let rope = |scaling| Rope {
            theta: 500_000.0,
            scaling,
            width: 64,
        };
        let factors: Vec<f64> = rope(RopeScaling::None)
            .inverse_frequencies(1)
            .iter()
            .zip(rope(scaling.clone()).inverse_frequencies(1))
            .map(|(plain, scaled)| f64::from((plain / scaled) as f32))
            .collect();
        assert_eq!(llama3_of(&factors, 500_000.0), Some(scaling));
        let mut other = factors;
        other[20] *= 1.01;
        assert_eq!(llama3_of(&other, 500_000.0), None);
    }
}
