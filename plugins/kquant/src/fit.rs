//! Scales and minima of a group of weights with the least weighted squared error `Σ v (x − x̂)²`.
//!
//! For given codes `q` the best scale, or scale and minimum, has a closed form; for a given scale
//! the best codes are the nearest ones. So a few dozen first guesses of the scale are tried, each
//! improved once by the closed form, and the best is kept.

use evopress_plugin::IQ4_VALUES;

/// Of a symmetric grid: how far apart the first guesses are, in codes at the end of the range, and
/// how many there are on each side.
const STEP: f32 = 0.1;
const NUM_GUESSES: i32 = 9;
/// How far apart first guesses are where the range ends at −127, in codes there.
const CODEBOOK_STEP: f32 = 1.5;

/// What a scale is multiplied with, one side of the range a little longer than the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Multiples {
    /// Whole numbers from this one to −1 less than its opposite.
    Whole(f32),
    /// The codebook of the `IQ4` types.
    Iq4,
}

impl Multiples {
    /// The longer end, and how far apart first guesses of a scale are there.
    fn end(self) -> (f32, f32) {
        match self {
            Self::Whole(low) => (low, STEP),
            Self::Iq4 => (f32::from(IQ4_VALUES[0]), CODEBOOK_STEP),
        }
    }

    fn nearest(self, value: f32) -> f32 {
        match self {
            Self::Whole(low) => nearest(value, low, -low - 1.0),
            Self::Iq4 => iq4_value(iq4_code(value)),
        }
    }
}

/// The code of the codebook's nearest value.
pub(crate) fn iq4_code(value: f32) -> f32 {
    let middles = IQ4_VALUES
        .windows(2)
        .map(|pair| (f32::from(pair[0]) + f32::from(pair[1])) / 2.0);
    middles
        .map(|middle| f32::from(u8::from(value > middle)))
        .sum()
}

/// What a code stands for.
pub(crate) fn iq4_value(code: f32) -> f32 {
    f32::from(IQ4_VALUES[code as usize])
}

/// The scale of `x ≈ s · q`, `q` one of the multiples. It may be negative: the range is longer on
/// one side.
pub(crate) fn scale(weights: &[f32], importance: &[f32], multiples: Multiples) -> f32 {
    let extreme = weights.iter().fold(
        0_f32,
        |most, x| if x.abs() > most.abs() { *x } else { most },
    );
    if extreme == 0.0 {
        return 0.0;
    }
    let (end, step) = multiples.end();
    let (mut best, mut best_gain) = (0.0, 0.0);
    for guess in -NUM_GUESSES..=NUM_GUESSES {
        let inverse = (end + step * guess as f32) / extreme;
        let (mut xq, mut qq) = (0.0, 0.0);
        for (x, v) in weights.iter().zip(importance) {
            let q = multiples.nearest(x * inverse);
            xq += v * x * q;
            qq += v * q * q;
        }
        // `Σ v x² − gain` is the error at the best scale for these codes.
        if qq > 0.0 && xq * xq > best_gain * qq {
            (best, best_gain) = (xq / qq, xq * xq / qq);
        }
    }
    best
}

/// Scale and minimum of `x ≈ s · q + m`, `q` in `0 ..= high`. With `is_below_zero`, `m` is not
/// positive.
pub(crate) fn scale_and_minimum(
    weights: &[f32],
    importance: &[f32],
    high: f32,
    is_below_zero: bool,
) -> (f32, f32) {
    let mut least = weights.iter().copied().fold(f32::MAX, f32::min);
    let greatest = weights.iter().copied().fold(f32::MIN, f32::max);
    if is_below_zero {
        least = least.min(0.0);
    }
    if greatest <= least {
        return (0.0, least);
    }
    let (mut best, mut least_error) = ((0.0, least), f32::MAX);
    for guess in -5..=NUM_GUESSES {
        let inverse = (high + STEP * guess as f32) / (greatest - least);
        let mut sums = Sums::default();
        for (x, v) in weights.iter().zip(importance) {
            sums.add(*v, *x, nearest((x - least) * inverse, 0.0, high));
        }
        let (scale, minimum) = sums.best(is_below_zero);
        let error = sums.error(scale, minimum);
        if scale > 0.0 && error < least_error {
            (best, least_error) = ((scale, minimum), error);
        }
    }
    best
}

/// Weighted sums over a group.
#[derive(Debug, Default)]
struct Sums {
    v: f32,
    x: f32,
    xx: f32,
    q: f32,
    qq: f32,
    xq: f32,
}

impl Sums {
    fn add(&mut self, v: f32, x: f32, q: f32) {
        self.v += v;
        self.x += v * x;
        self.xx += v * x * x;
        self.q += v * q;
        self.qq += v * q * q;
        self.xq += v * x * q;
    }

    /// The scale and minimum of the least error for these codes.
    fn best(&self, is_below_zero: bool) -> (f32, f32) {
        let determinant = self.v * self.qq - self.q * self.q;
        if determinant > 0.0 {
            let scale = (self.v * self.xq - self.q * self.x) / determinant;
            let minimum = (self.qq * self.x - self.q * self.xq) / determinant;
            if minimum <= 0.0 || !is_below_zero {
                return (scale, minimum);
            }
        }
        match self.qq > 0.0 {
            true => (self.xq / self.qq, 0.0),
            false => (0.0, 0.0),
        }
    }

    fn error(&self, s: f32, m: f32) -> f32 {
        self.xx - 2.0 * s * self.xq - 2.0 * m * self.x
            + s * s * self.qq
            + 2.0 * s * m * self.q
            + m * m * self.v
    }
}

/// Added to a number of at most this size and taken away again, it rounds to whole numbers, ties to
/// even.
const ROUNDER: f32 = 12_582_912.0;

/// The whole number in a small range that is nearest to `value`; `low` where it is not a number.
pub(crate) fn nearest(value: f32, low: f32, high: f32) -> f32 {
    (value.max(low).min(high) + ROUNDER) - ROUNDER
}

/// `a / b`, or 0 where `b` is.
pub(crate) fn ratio(a: f32, b: f32) -> f32 {
    if b == 0.0 { 0.0 } else { a / b }
}
