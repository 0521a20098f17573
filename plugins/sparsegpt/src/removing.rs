//! Columns that lose the weights whose removal costs least.
//!
//! Removing `w_ij` when all columns before `j` are fixed costs `w_ij² / U_jj²`, with `H⁻¹ = Uᵀ U`.
//! Legend: K columns, R rows of all pairs of a batch, C columns that are chosen together.

use std::ops::Range;

use evopress_layerwise::{Pattern, Removal, mark_lowest, share_of};
use evopress_obs::{Batch, Factor, Path, Rule, Span};
use evopress_plugin::{DType, half::f16};
use evopress_plugin_tch::view;
use tch::{Kind, TchError, Tensor};

/// What the pairs of a batch share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Columns whose weights are chosen together.
    pub(crate) width: usize,
    /// Whether they are chosen from each row for itself.
    pub(crate) by_row: bool,
    /// What the kept weights are stored as.
    pub(crate) dtype: DType,
}

/// Which weights go, as far as they have been chosen.
pub(crate) struct Removing<'a> {
    key: Key,
    pairs: Vec<(Range<usize>, Removal)>,
    factor: &'a Factor,
    num_rows: usize,
    is_removed_kr: Mask,
}

/// A mask where the sweep reads it.
enum Mask {
    Here(Vec<bool>),
    There(Tensor),
}

impl<'a> Removing<'a> {
    pub(crate) fn new(
        path: Path,
        batch: &Batch,
        factor: &'a Factor,
        key: Key,
        removals: &[Removal],
    ) -> Result<Self, TchError> {
        let (num_columns, num_rows) = batch.weights.size2()?;
        let is_removed_kr = match path {
            Path::Slices => Mask::Here(vec![false; (num_columns * num_rows) as usize]),
            Path::Tensors => Mask::There(Tensor::f_zeros(
                [num_columns, num_rows],
                (Kind::Bool, batch.weights.device()),
            )?),
        };
        let rows = batch.pairs.iter().map(|pair| pair.rows.clone());
        Ok(Removing {
            key,
            pairs: rows.zip(removals.iter().copied()).collect(),
            factor,
            num_rows: num_rows as usize,
            is_removed_kr,
        })
    }

    /// `[K, R]` bool: which weights stay.
    pub(crate) fn kept(&self) -> Result<Tensor, TchError> {
        let is_removed = match &self.is_removed_kr {
            Mask::Here(mask) => Tensor::f_from_slice(mask)?.f_view([-1, self.num_rows as i64])?,
            Mask::There(mask) => mask.shallow_clone(),
        };
        is_removed.f_logical_not()
    }

    /// How many of a pair's weights go in some columns: the same share of every block, so that the
    /// sum is exact.
    fn count_in(&self, columns: &Range<usize>, rows: &Range<usize>, count: u64) -> usize {
        let num_columns = self.factor.num_columns();
        let shares = columns
            .clone()
            .map(|column| share_of(count, column as u64, num_columns as u64));
        (shares.sum::<u64>() as usize).min(rows.len() * columns.len())
    }
}

impl Rule for Removing<'_> {
    fn span(&self) -> Span {
        Span {
            columns: self.key.width,
            needs_all_rows: !self.key.by_row,
        }
    }

    fn enter(
        &mut self,
        columns: Range<usize>,
        rows: Range<usize>,
        weights: &Tensor,
    ) -> Result<(), TchError> {
        for idx in 0..self.pairs.len() {
            let (of_pair, removal) = self.pairs[idx].clone();
            // Of patterns the pair's rows may come in chunks.
            let seen = of_pair.start.max(rows.start)..of_pair.end.min(rows.end);
            if seen.is_empty() {
                continue;
            }
            let count = match removal {
                Removal::Count(count) => self.count_in(&columns, &of_pair, count),
                Removal::Pattern(_) => 0,
            };
            let importance = &self.factor.importance[columns.clone()];
            match &mut self.is_removed_kr {
                Mask::Here(mask) => {
                    let weights = view(weights).map_err(|error| TchError::Torch(error.message))?;
                    let weights = weights
                        .as_slice()
                        .map_err(|error| TchError::Torch(error.to_string()))?;
                    let within = seen.start - rows.start..seen.end - rows.start;
                    let scores = scores(weights, rows.len(), within, importance);
                    let mut is_removed = vec![false; scores.len()];
                    match removal {
                        Removal::Count(_) => mark_lowest(&scores, count, &mut is_removed),
                        Removal::Pattern(pattern) => {
                            mark_pattern(&scores, pattern, &mut is_removed)
                        }
                    }
                    for (column, is_removed) in columns.clone().zip(is_removed.chunks(seen.len())) {
                        mask[column * self.num_rows..][seen.clone()].copy_from_slice(is_removed);
                    }
                }
                Mask::There(mask) => {
                    let of_pair = |tensor: &Tensor, start: usize| {
                        tensor.f_narrow(1, start as i64, seen.len() as i64)
                    };
                    let importance = Tensor::f_from_slice(importance)?
                        .f_to_device(weights.device())?
                        .f_unsqueeze(1)?;
                    let scores = of_pair(weights, seen.start - rows.start)?
                        .f_square()?
                        .f_mul(&importance)?;
                    let is_removed = match removal {
                        Removal::Count(_) => lowest(&scores, count as i64)?,
                        Removal::Pattern(pattern) => {
                            let ranks = scores
                                .f_argsort_stable(true, 0, false)?
                                .f_argsort_stable(true, 0, false)?;
                            ranks.f_lt(pattern.zeros as i64)?
                        }
                    };
                    let mask = mask.f_narrow(0, columns.start as i64, columns.len() as i64)?;
                    of_pair(&mask, seen.start)?.f_copy_(&is_removed)?;
                }
            }
        }
        Ok(())
    }

    fn fix(&self, column: usize, weights: &Tensor) -> Result<Tensor, TchError> {
        let Mask::There(mask) = &self.is_removed_kr else {
            unreachable!("tensors are swept only where the mask is one too");
        };
        let kind = match self.key.dtype {
            DType::Bf16 => Kind::BFloat16,
            DType::F16 => Kind::Half,
            _ => Kind::Float,
        };
        let stored = weights.f_to_kind(kind)?.f_to_kind(Kind::Float)?;
        stored.f_masked_fill(&mask.f_get(column as i64)?, 0.0)
    }

    fn fix_slice(&self, column: usize, rows: Range<usize>, weights: &[f32], fixed: &mut [f32]) {
        let Mask::Here(mask) = &self.is_removed_kr else {
            unreachable!("slices are swept only where the mask is one too");
        };
        let is_removed = &mask[column * self.num_rows..][rows];
        let each = fixed.iter_mut().zip(weights).zip(is_removed);
        match self.key.dtype {
            DType::Bf16 => each.for_each(|((fixed, &weight), &removed)| {
                *fixed = if removed { 0.0 } else { as_bf16(weight) }
            }),
            DType::F16 => each.for_each(|((fixed, &weight), &removed)| {
                *fixed = if removed {
                    0.0
                } else {
                    f16::from_f32(weight).to_f32()
                }
            }),
            _ => each.for_each(|((fixed, &weight), &removed)| {
                *fixed = if removed { 0.0 } else { weight }
            }),
        }
    }
}

/// A finite number rounded to bf16, ties to even; without a branch, so that many are rounded at
/// once.
fn as_bf16(number: f32) -> f32 {
    let bits = number.to_bits();
    f32::from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
}

/// `w² · importance` of some rows of `weights [C, rows]`, column after column.
fn scores(weights: &[f32], num_rows: usize, rows: Range<usize>, importance: &[f32]) -> Vec<f32> {
    let mut scores = Vec::with_capacity(rows.len() * importance.len());
    for (weights, &importance) in weights.chunks(num_rows).zip(importance) {
        scores.extend(
            weights[rows.clone()]
                .iter()
                .map(|weight| weight * weight * importance),
        );
    }
    scores
}

/// Marks the lowest `zeros` of the `of` scores of each row, `scores [of, rows]`; earlier ones among
/// equals.
fn mark_pattern(scores: &[f32], pattern: Pattern, is_removed: &mut [bool]) {
    let num_rows = scores.len() / pattern.of;
    let of_column = |column: usize| &scores[column * num_rows..][..num_rows];
    let mut ranks = vec![0_u8; num_rows];
    for (column, is_removed) in is_removed.chunks_mut(num_rows).enumerate() {
        ranks.fill(0);
        for other in 0..pattern.of {
            let pairs = of_column(other).iter().zip(of_column(column));
            let ranks = ranks.iter_mut().zip(pairs);
            match other < column {
                true => ranks.for_each(|(rank, (other, score))| *rank += u8::from(other <= score)),
                false => ranks.for_each(|(rank, (other, score))| *rank += u8::from(other < score)),
            }
        }
        for (is_removed, &rank) in is_removed.iter_mut().zip(&ranks) {
            *is_removed = usize::from(rank) < pattern.zeros;
        }
    }
}

/// The lowest `count` of `scores [C, rows]`, earlier ones among equals.
fn lowest(scores: &Tensor, count: i64) -> Result<Tensor, TchError> {
    if count == 0 {
        return scores.f_zeros_like()?.f_to_kind(Kind::Bool);
    }
    let flat = scores.f_flatten(0, -1)?;
    let (highest, _) = flat.f_kthvalue(count, 0, true)?;
    let is_lower = flat.f_lt_tensor(&highest)?;
    let is_equal = flat.f_eq_tensor(&highest)?;
    let num_equal = is_lower.f_sum(Kind::Int64)?.f_neg()?.f_add_scalar(count)?;
    let is_early = is_equal.f_cumsum(0, Kind::Int64)?.f_le_tensor(&num_equal)?;
    let is_low = is_lower.f_logical_or(&is_equal.f_logical_and(&is_early)?)?;
    is_low.f_view_as(scores)
}
