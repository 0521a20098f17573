//! The values that the weights of a block can have.
//!
//! In all of ggml's formats here a weight of group `g` becomes `unit · scale_g · q − minimum_unit · minimum_g` with a whole number `q` in a
//! range. Blocks of 32 and 64 are one group with scale and minimum 1.

use evopress_plugin::{GgmlType, half::f16};

use crate::fit::{Multiples, iq4_code, iq4_value, nearest, ratio};
use crate::{blocks, super_blocks};

/// Groups of a block at most.
const MAX_GROUPS: usize = 16;

/// What a type's blocks are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) ggml_type: GgmlType,
    /// Weights of a block.
    pub(crate) len: usize,
    /// Weights that share a scale.
    pub(crate) group_len: usize,
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// Codes are places in the codebook of the `IQ4` types, not numbers themselves.
    pub(crate) has_codebook: bool,
}

impl Format {
    /// Of a quantized type.
    pub(crate) fn of(ggml_type: GgmlType) -> Self {
        let len = ggml_type.block_len();
        let (group_len, bits) = ggml_type.group().unwrap_or((len, 8));
        let num_codes = f32::from(1_u16 << bits);
        let has_minimum = matches!(
            ggml_type,
            GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q2K | GgmlType::Q4K | GgmlType::Q5K
        );
        let has_codebook = matches!(ggml_type, GgmlType::Iq4Nl | GgmlType::Iq4Xs);
        let low = match has_minimum || has_codebook {
            true => 0.0,
            false => -num_codes / 2.0,
        };
        Self {
            ggml_type,
            len,
            group_len,
            low,
            high: low + num_codes - 1.0,
            has_codebook,
        }
    }

    /// What the scales of formats without minima are multiplied with.
    pub(crate) fn multiples(&self) -> Multiples {
        match self.has_codebook {
            true => Multiples::Iq4,
            false => Multiples::Whole(self.low),
        }
    }

    /// What a code stands for.
    pub(crate) fn multiple(&self, code: f32) -> f32 {
        match self.has_codebook {
            true => iq4_value(code),
            false => code,
        }
    }

    /// The least code and the greatest.
    pub(crate) fn range(&self) -> (f32, f32) {
        (self.low, self.high)
    }

    pub(crate) fn num_groups(&self) -> usize {
        self.len / self.group_len
    }

    /// The grid of a block with the least `Σ v (x − x̂)²`, as far as a search finds it.
    pub(crate) fn fit(&self, weights: &[f32], importance: &[f32]) -> Grid {
        match self.ggml_type {
            GgmlType::Q2_0 | GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 | GgmlType::Iq4Nl => {
                blocks::symmetric(self, weights, importance)
            }
            GgmlType::Q4_1 | GgmlType::Q5_1 => blocks::affine(self, weights, importance),
            GgmlType::Q3K | GgmlType::Q6K | GgmlType::Iq4Xs => {
                super_blocks::symmetric(self, weights, importance)
            }
            _ => super_blocks::affine(self, weights, importance),
        }
    }

    /// The values of a group of a block.
    pub(crate) fn values(&self, grid: &Grid, group: usize) -> Values {
        let step = grid.unit * grid.scales[group];
        let inverse = ratio(1.0, step);
        Values {
            step,
            offset: grid.minimum_unit * grid.minima[group],
            inverse: if inverse.is_finite() { inverse } else { 0.0 },
            has_codebook: self.has_codebook,
        }
    }

    /// The grids of a row's blocks, each fitted for itself.
    pub(crate) fn fit_row(&self, weights: &[f32], importance: &[f32]) -> Vec<Grid> {
        let blocks = weights.chunks(self.len).zip(importance.chunks(self.len));
        blocks.map(|(x, v)| self.fit(x, v)).collect()
    }

    /// The codes whose values are nearest to a block's weights.
    pub(crate) fn codes(&self, grid: &Grid, weights: &[f32]) -> Vec<f32> {
        let range = self.range();
        let groups = weights.chunks(self.group_len).enumerate();
        let codes = groups.flat_map(|(at, group)| {
            let values = self.values(grid, at);
            group.iter().map(move |x| values.code(*x, range))
        });
        codes.collect()
    }

    /// The values of a row's blocks that are nearest to its weights.
    pub(crate) fn nearest_row(&self, grids: &[Grid], weights: &[f32]) -> Vec<f32> {
        let range = self.range();
        let groups = weights.chunks(self.group_len).enumerate();
        let values = groups.flat_map(|(at, group)| {
            let values = self.values(&grids[at / self.num_groups()], at % self.num_groups());
            group.iter().map(move |x| values.of(values.code(*x, range)))
        });
        values.collect()
    }
}

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
