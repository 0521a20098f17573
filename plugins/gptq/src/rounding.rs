//! Columns rounded to grids that are fitted on the way.
//!
//! Legend: K columns, G groups of columns, R rows of all pairs of a batch.

use std::ops::Range;

use evopress_layerwise::{MAX_SCALE, MIN_SCALE, highest_code};
use evopress_obs::{Batch, Factor, Path, Rule, Span};
use tch::{Device, Kind, TchError, Tensor};

/// Added to a number of at most this size and taken away again, it rounds to whole numbers, ties to
/// even.
const ROUNDER: f32 = 12_582_912.0;

/// What the pairs of a batch share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Columns that share a scale and a zero.
    pub(crate) group_size: usize,
    /// Whether zeros are the middle of the codes.
    pub(crate) symmetric: bool,
}

/// Grids of all groups and rows, as far as they have been fitted.
pub(crate) struct Rounding {
    key: Key,
    /// By place in the factor's order: which group the column is of.
    groups: Vec<usize>,
    /// Whether grids are fitted to the weights as they were, all at once.
    is_static: bool,
    num_groups: usize,
    highest_r: Numbers,
    scales_gr: Numbers,
    zeros_gr: Numbers,
}

/// Numbers where the sweep reads them.
enum Numbers {
    Here(Vec<f32>),
    There(Tensor),
}

impl Rounding {
    pub(crate) fn new(
        path: Path,
        batch: &Batch,
        factor: &Factor,
        key: Key,
        bits: &[u8],
    ) -> Result<Self, TchError> {
        let num_columns = factor.num_columns();
        let num_groups = num_columns / key.group_size;
        let device = batch.weights.device();
        let highest: Vec<f32> = (batch.pairs.iter().zip(bits))
            .flat_map(|(pair, &bits)| std::iter::repeat_n(highest_code(bits), pair.rows.len()))
            .collect();
        let num_rows = highest.len();
        let groups = match &factor.order {
            None => (0..num_columns)
                .map(|column| column / key.group_size)
                .collect(),
            Some(order) => Vec::<i64>::try_from(order)?
                .into_iter()
                .map(|column| column as usize / key.group_size)
                .collect(),
        };
        let mut rounding = Rounding {
            key,
            groups,
            is_static: factor.order.is_some(),
            num_groups,
            highest_r: Numbers::new(highest, path, device)?,
            scales_gr: Numbers::new(vec![1.0; num_groups * num_rows], path, device)?,
            zeros_gr: Numbers::new(vec![0.0; num_groups * num_rows], path, device)?,
        };
        if rounding.is_static {
            let weights = factor.in_natural_order(&batch.weights)?;
            for group in 0..num_groups {
                let start = (group * key.group_size) as i64;
                let of_group = weights.f_narrow(0, start, key.group_size as i64)?;
                rounding.fit(group, 0..num_rows, &of_group)?;
            }
        }
        Ok(rounding)
    }

    /// Scales and zeros `[G, R]`.
    pub(crate) fn grids(&self) -> Result<(Tensor, Tensor), TchError> {
        let shape = [self.num_groups as i64, -1];
        Ok((
            self.scales_gr.tensor()?.f_view(shape)?,
            self.zeros_gr.tensor()?.f_view(shape)?,
        ))
    }

    /// Codes `[K, R]` u8 of swept weights, columns in their natural order.
    pub(crate) fn codes(&self, weights: &Tensor, factor: &Factor) -> Result<Tensor, TchError> {
        let (scales, zeros) = self.grids()?;
        let (num_columns, num_rows) = weights.size2()?;
        let shape = [self.num_groups as i64, self.key.group_size as i64, num_rows];
        let mut numbers = factor
            .in_natural_order(weights)?
            .f_reshape(shape)?
            .f_div(&scales.f_unsqueeze(1)?)?;
        let codes = numbers.f_add_(&zeros.f_unsqueeze(1)?)?.f_round_()?;
        codes
            .f_to_kind(Kind::Uint8)?
            .f_view([num_columns, num_rows])
    }

    /// Fits the grid of one group to `weights [group_size, rows]`, as
    /// `evopress_layerwise::Grid::fit` does.
    fn fit(&mut self, group: usize, rows: Range<usize>, weights: &Tensor) -> Result<(), TchError> {
        let highest = self.highest_r.narrow(rows.clone())?;
        let mut least = weights.f_amin([0], false)?.f_clamp_max(0.0)?;
        let mut greatest = weights.f_amax([0], false)?.f_clamp_min(0.0)?;
        if self.key.symmetric {
            greatest = greatest.f_maximum(&least.f_neg()?)?;
            least = greatest.f_neg()?;
        }
        // Halves, since the difference of two finite numbers may not be finite.
        let halves = greatest
            .f_mul_scalar(0.5)?
            .f_sub(&least.f_mul_scalar(0.5)?)?;
        let spans = halves.f_div(&highest)?.f_mul_scalar(2.0)?;
        let scales = spans
            .f_clamp(f64::from(MIN_SCALE), f64::from(MAX_SCALE))?
            .f_to_kind(Kind::Half)?
            .f_to_kind(Kind::Float)?;
        let scales = scales.f_masked_fill(&halves.f_eq(0.0)?, 1.0)?;
        let zeros = match self.key.symmetric {
            true => highest.f_add_scalar(1.0)?.f_mul_scalar(0.5)?,
            false => least
                .f_neg()?
                .f_div(&scales)?
                .f_round()?
                .f_minimum(&highest)?,
        };
        let num_rows = self.highest_r.len();
        let place = group * num_rows + rows.start..group * num_rows + rows.end;
        self.scales_gr.set(place.clone(), &scales)?;
        self.zeros_gr.set(place, &zeros)
    }
}

impl Rule for Rounding {
    fn span(&self) -> Span {
        Span {
            columns: match self.is_static {
                true => self.groups.len(),
                false => self.key.group_size,
            },
            needs_all_rows: false,
        }
    }

    fn enter(
        &mut self,
        columns: Range<usize>,
        rows: Range<usize>,
        weights: &Tensor,
    ) -> Result<(), TchError> {
        if self.is_static {
            return Ok(());
        }
        self.fit(self.groups[columns.start], rows, weights)
    }

    fn fix(&self, column: usize, weights: &Tensor) -> Result<Tensor, TchError> {
        let num_rows = self.highest_r.len();
        let of_group = self.groups[column] * num_rows..(self.groups[column] + 1) * num_rows;
        let scales = self.scales_gr.narrow(of_group.clone())?;
        let zeros = self.zeros_gr.narrow(of_group)?;
        let highest = self.highest_r.narrow(0..num_rows)?;
        let codes = weights
            .f_div(&scales)?
            .f_add_(&zeros)?
            .f_clamp_min_(0.0)?
            .f_minimum(&highest)?;
        codes.f_round()?.f_sub_(&zeros)?.f_mul_(&scales)
    }

    fn fix_slice(&self, column: usize, rows: Range<usize>, weights: &[f32], fixed: &mut [f32]) {
        let (Numbers::Here(highest), Numbers::Here(scales), Numbers::Here(zeros)) =
            (&self.highest_r, &self.scales_gr, &self.zeros_gr)
        else {
            unreachable!("slices are swept only where the grids are slices too");
        };
        let start = self.groups[column] * highest.len() + rows.start;
        let (scales, zeros) = (
            &scales[start..][..rows.len()],
            &zeros[start..][..rows.len()],
        );
        let grids = scales.iter().zip(zeros).zip(&highest[rows]);
        for ((fixed, &weight), ((&scale, &zero), &highest)) in
            fixed.iter_mut().zip(weights).zip(grids)
        {
            let code = (weight / scale + zero).max(0.0).min(highest);
            let code = (code + ROUNDER) - ROUNDER;
            *fixed = (code - zero) * scale;
        }
    }
}

impl Numbers {
    fn new(numbers: Vec<f32>, path: Path, device: Device) -> Result<Self, TchError> {
        Ok(match path {
            Path::Slices => Numbers::Here(numbers),
            Path::Tensors => Numbers::There(Tensor::f_from_slice(&numbers)?.f_to_device(device)?),
        })
    }

    fn len(&self) -> usize {
        match self {
            Numbers::Here(numbers) => numbers.len(),
            Numbers::There(numbers) => numbers.numel(),
        }
    }

    fn tensor(&self) -> Result<Tensor, TchError> {
        match self {
            Numbers::Here(numbers) => Tensor::f_from_slice(numbers),
            Numbers::There(numbers) => Ok(numbers.shallow_clone()),
        }
    }

    fn narrow(&self, range: Range<usize>) -> Result<Tensor, TchError> {
        match self {
            Numbers::Here(numbers) => Tensor::f_from_slice(&numbers[range]),
            Numbers::There(numbers) => numbers.f_narrow(0, range.start as i64, range.len() as i64),
        }
    }

    fn set(&mut self, range: Range<usize>, values: &Tensor) -> Result<(), TchError> {
        match self {
            Numbers::Here(numbers) => {
                let num_values = range.len();
                values.f_copy_data(&mut numbers[range], num_values)
            }
            Numbers::There(numbers) => numbers
                .f_narrow(0, range.start as i64, range.len() as i64)?
                .f_copy_(values),
        }
    }
}
