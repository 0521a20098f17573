//! Super-blocks of 256 weights: scales (and minima) of groups are themselves small whole numbers,
//! in units of `d` (and `dmin`) in f16.
//!
//! First each group gets the scale (and minimum) that suits it best. The greatest of them set the
//! units; then, in turn, each group takes the whole numbers near its own with the least error, and
//! the units are fitted again to all codes at once. The best turn is kept.

use evopress_plugin::GgmlType;

use crate::fit::{self, nearest, ratio};
use crate::format::Format;
use crate::grid::{Grid, to_f16};

const LEN: usize = 256;
/// How often units are fitted to codes and codes to units.
const NUM_TURNS: usize = 3;

/// A grid, the codes of the weights that it is fitted to, and what it costs them.
#[derive(Clone)]
struct Tried {
    grid: Grid,
    codes: [f32; LEN],
    error: f32,
}

impl Tried {
    fn new(unit: f32, minimum_unit: f32) -> Self {
        Self {
            grid: Grid::new(unit, minimum_unit),
            codes: [0.0; LEN],
            error: f32::MAX,
        }
    }

    /// Gives group `at` the codes nearest to its weights at `scale` and `minimum` (in their units)
    /// if that is better than `error`.
    fn improve(
        &mut self,
        format: &Format,
        at: usize,
        (weights, importance): (&[f32], &[f32]),
        (scale, minimum): (f32, f32),
        error: &mut f32,
    ) {
        let mut grid = self.grid;
        (grid.scales[at], grid.minima[at]) = (scale, minimum);
        let values = format.values(&grid, at);
        let code = |x: f32| values.code(x, format.range());
        let found: f32 = weights
            .iter()
            .zip(importance)
            .map(|(x, v)| {
                let lost = x - values.of(code(*x));
                v * lost * lost
            })
            .sum();
        if found < *error {
            *error = found;
            self.grid = grid;
            let codes = self.codes[at * weights.len()..].iter_mut();
            for (place, x) in codes.zip(weights) {
                *place = code(*x);
            }
        }
    }
}

/// `Q3_K`, `Q6_K`, `IQ4_XS`: `d · s · q`, groups of 16 or 32.
pub(crate) fn symmetric(format: &Format, weights: &[f32], importance: &[f32]) -> Grid {
    let len = format.group_len;
    let lowest = match format.ggml_type {
        GgmlType::Q3K | GgmlType::Iq4Xs => -32.0,
        _ => -128.0,
    };
    let groups = || weights.chunks(len).zip(importance.chunks(len));
    let wanted: Vec<f32> = groups()
        .map(|(x, v)| fit::scale(x, v, format.multiples()))
        .collect();
    let extreme = wanted.iter().fold(
        0_f32,
        |most, s| if s.abs() > most.abs() { *s } else { most },
    );
    let mut tried = Tried::new(extreme / lowest, 0.0);
    let mut best = tried.clone();
    for _ in 0..NUM_TURNS {
        tried.error = 0.0;
        for (at, group) in groups().enumerate() {
            let middle = nearest(ratio(wanted[at], tried.grid.unit), lowest, -lowest - 1.0);
            let mut error = f32::MAX;
            for step in [0.0, -1.0, 1.0] {
                let scale = middle + step;
                if (lowest..-lowest).contains(&scale) {
                    tried.improve(format, at, group, (scale, 0.0), &mut error);
                }
            }
            tried.error += error;
        }
        if tried.error < best.error {
            best = tried.clone();
        }
        let (mut xa, mut aa) = (0.0, 0.0);
        for (idx, (x, v)) in weights.iter().zip(importance).enumerate() {
            let a = tried.grid.scales[idx / len] * format.multiple(tried.codes[idx]);
            xa += v * x * a;
            aa += v * a * a;
        }
        tried.grid.unit = to_f16(ratio(xa, aa)).to_f32();
    }
    best.grid
}

/// `Q2_K`, `Q4_K`, `Q5_K`: `d · s · q − dmin · m`, groups of 16 or 32.
pub(crate) fn affine(format: &Format, weights: &[f32], importance: &[f32]) -> Grid {
    let len = format.group_len;
    let highest = match format.ggml_type {
        GgmlType::Q2K => 15.0,
        _ => 63.0,
    };
    let groups = || weights.chunks(len).zip(importance.chunks(len));
    let wanted: Vec<(f32, f32)> = groups()
        .map(|(x, v)| fit::scale_and_minimum(x, v, format.high, true))
        .map(|(scale, minimum)| (scale, -minimum))
        .collect();
    let greatest = |of: fn(&(f32, f32)) -> f32| wanted.iter().map(of).fold(0.0, f32::max);
    let mut tried = Tried::new(greatest(|it| it.0) / highest, greatest(|it| it.1) / highest);
    let mut best = tried.clone();
    for _ in 0..NUM_TURNS {
        tried.error = 0.0;
        for (at, group) in groups().enumerate() {
            let whole = |wanted, unit| nearest(ratio(wanted, unit), 0.0, highest);
            let scale = whole(wanted[at].0, tried.grid.unit);
            let minimum = whole(wanted[at].1, tried.grid.minimum_unit);
            let mut error = f32::MAX;
            for step in [0.0, -1.0, 1.0] {
                for minimum_step in [0.0, -1.0, 1.0] {
                    let pair = (scale + step, minimum + minimum_step);
                    let is_in_range = |it: f32| (0.0..=highest).contains(&it);
                    if is_in_range(pair.0) && is_in_range(pair.1) {
                        tried.improve(format, at, group, pair, &mut error);
                    }
                }
            }
            tried.error += error;
        }
        if tried.error < best.error {
            best = tried.clone();
        }
        fit_units(&mut tried, len, weights, importance);
    }
    best.grid
}

/// The units with the least error for the codes: `x ≈ unit · a − minimum_unit · b`.
fn fit_units(tried: &mut Tried, group_len: usize, weights: &[f32], importance: &[f32]) {
    let (mut aa, mut ab, mut bb, mut xa, mut xb) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (idx, (x, v)) in weights.iter().zip(importance).enumerate() {
        let a = tried.grid.scales[idx / group_len] * tried.codes[idx];
        let b = tried.grid.minima[idx / group_len];
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
        tried.grid.unit = to_f16(unit).to_f32();
        tried.grid.minimum_unit = to_f16(minimum_unit).to_f32();
    }
}
