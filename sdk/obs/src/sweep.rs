//! Column after column, in blocks.
//!
//! Within a block of up to 128 columns errors are passed on at once; what they do to all later
//! columns is one matrix product per block. On the CPU a block is done for a few hundred rows at a
//! time, which stay in the cache, and again in blocks of 32 columns. Legend: K columns of the
//! weights, R rows of all layers and variants, C columns of a block, N rows of a chunk.

use std::ops::Range;

use evopress_plugin::PluginError;
use evopress_plugin_tch::{Buffer, to_plugin_error, view};
use tch::{Device, Kind, TchError, Tensor};

use crate::Factor;

/// Columns of a block.
const BLOCK: usize = 128;
/// Columns of an inner block.
const INNER: usize = 32;
/// Rows of a chunk: an inner block of them is 32 KB.
const CHUNK: usize = 256;

/// Columns that a [`Rule`] wants to see together, with all errors of the columns before them passed
/// on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// So many; the last span may be shorter.
    pub columns: usize,
    /// Whether it has to see all rows at once.
    pub needs_all_rows: bool,
}

/// What columns become.
pub trait Rule {
    /// Columns that it wants to see together.
    fn span(&self) -> Span;

    /// Looks at the weights `[columns, rows]` of a span before its first column is fixed.
    ///
    /// # Errors
    /// When libtorch fails.
    fn enter(
        &mut self,
        columns: Range<usize>,
        rows: Range<usize>,
        weights: &Tensor,
    ) -> Result<(), TchError>;

    /// What the weights `[R]` of a column become.
    ///
    /// # Errors
    /// When libtorch fails.
    fn fix(&self, column: usize, weights: &Tensor) -> Result<Tensor, TchError>;

    /// What the `weights` of some rows of a column, in main memory, become: written to `fixed`.
    fn fix_slice(&self, column: usize, rows: Range<usize>, weights: &[f32], fixed: &mut [f32]);
}

/// How the innermost loops are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Plain Rust on rows in the cache; for tensors on the CPU only.
    Slices,
    /// Tensor operations on all rows.
    Tensors,
}

impl Path {
    /// The one that is fast on a device.
    pub fn on(device: Device) -> Self {
        match device {
            Device::Cpu => Path::Slices,
            _ => Path::Tensors,
        }
    }
}

/// Fixes all columns of `weights [K, R]` (contiguous, in the factor's order), in place.
///
/// # Errors
/// When libtorch fails, or the path is not for this device.
pub fn sweep(
    path: Path,
    weights: &Tensor,
    factor: &Factor,
    rule: &mut impl Rule,
) -> Result<(), PluginError> {
    tch::no_grad(|| blocks(path, weights, factor, rule)).map_err(|error| to_plugin_error(&error))
}

fn blocks(
    path: Path,
    weights: &Tensor,
    factor: &Factor,
    rule: &mut impl Rule,
) -> Result<(), TchError> {
    let num_columns = factor.num_columns();
    let num_rows = weights.size2()?.1;
    let span = rule.span();
    let errors = Tensor::f_empty([BLOCK as i64, num_rows], (Kind::Float, weights.device()))?;
    let mut start = 0;
    while start < num_columns {
        let end = block_end(start, span, num_columns);
        if is_entered_at_once(span) && start.is_multiple_of(span.columns) {
            let columns = start..(start + span.columns).min(num_columns);
            let seen = narrow(weights, 0, &columns)?;
            rule.enter(columns, 0..num_rows as usize, &seen)?;
        }
        let block = Block {
            columns: start..end,
            span,
            factor,
        };
        let errors = narrow(&errors, 0, &(0..end - start))?;
        match path {
            Path::Slices => block.by_slices(weights, &errors, rule)?,
            Path::Tensors => block.by_tensors(weights, &errors, rule)?,
        }
        if end < num_columns {
            let mut later = narrow(weights, 0, &(end..num_columns))?;
            let _ = later.f_addmm_(&block.spread_to(start..end, end..num_columns)?, &errors)?;
        }
        start = end;
    }
    Ok(())
}

/// Whether a rule sees its spans before a block begins, with all rows; otherwise within a block,
/// chunk by chunk.
fn is_entered_at_once(span: Span) -> bool {
    span.needs_all_rows || span.columns >= BLOCK
}

/// Blocks are whole spans, or spans whole blocks but for the last one.
fn block_end(start: usize, span: Span, num_columns: usize) -> usize {
    let end = match is_entered_at_once(span) {
        true => (start + BLOCK).min(start - start % span.columns + span.columns),
        false => start + BLOCK / span.columns * span.columns,
    };
    end.min(num_columns)
}

/// Columns whose errors are passed on at once among themselves.
struct Block<'a> {
    columns: Range<usize>,
    span: Span,
    factor: &'a Factor,
}

impl Block<'_> {
    /// `errors [C, R]` becomes what the columns were changed by.
    fn by_tensors(
        &self,
        weights: &Tensor,
        errors: &Tensor,
        rule: &mut impl Rule,
    ) -> Result<(), TchError> {
        let num_rows = weights.size2()?.1 as usize;
        let weights = narrow(weights, 0, &self.columns)?;
        for inner in self.inner_blocks() {
            self.enter(&inner, 0..num_rows, &weights, rule)?;
            for column in inner.clone() {
                let place = (column - self.columns.start) as i64;
                let mut weight = weights.f_get(place)?;
                let fixed = rule.fix(column, &weight)?;
                let mut error = errors.f_get(place)?;
                error.f_copy_(&fixed.f_sub(&weight)?)?;
                weight.f_copy_(&fixed)?;
                if column + 1 < inner.end {
                    let spread = self.factor.spread.f_get(column as i64)?;
                    let spread = narrow(&spread, 0, &(column + 1..inner.end))?;
                    let _ = self
                        .part(&weights, column + 1..inner.end)?
                        .f_addr_(&spread, &error)?;
                }
            }
            self.pass_on(&inner, &weights, errors)?;
        }
        Ok(())
    }

    /// As [`Self::by_tensors`], but for a chunk of rows after the other, in plain Rust.
    fn by_slices(
        &self,
        weights: &Tensor,
        errors: &Tensor,
        rule: &mut impl Rule,
    ) -> Result<(), TchError> {
        let num_rows = weights.size2()?.1 as usize;
        let weights = narrow(weights, 0, &self.columns)?;
        let num_columns = self.columns.len();
        let buffers = |rows: usize| -> Result<(Buffer, Buffer), TchError> {
            let shape = [num_columns as i64, rows as i64];
            let buffer = || Buffer::zeros(&shape).map_err(to_torch_error);
            Ok((buffer()?, buffer()?))
        };
        let (mut chunk_weights, mut chunk_errors) = buffers(num_rows.min(CHUNK))?;
        for start in (0..num_rows).step_by(CHUNK) {
            let rows = start..(start + CHUNK).min(num_rows);
            // The last chunk may be shorter.
            if chunk_weights.size2()?.1 != rows.len() as i64 {
                (chunk_weights, chunk_errors) = buffers(rows.len())?;
            }
            chunk_weights.f_copy_(&narrow(&weights, 1, &rows)?)?;
            for inner in self.inner_blocks() {
                self.enter(&inner, rows.clone(), &chunk_weights, rule)?;
                self.fix_inner(&inner, &rows, &mut chunk_weights, &mut chunk_errors, rule)?;
                self.pass_on(&inner, &chunk_weights, &chunk_errors)?;
            }
            narrow(&weights, 1, &rows)?.f_copy_(&chunk_weights)?;
            narrow(errors, 1, &rows)?.f_copy_(&chunk_errors)?;
        }
        Ok(())
    }

    fn fix_inner(
        &self,
        inner: &Range<usize>,
        rows: &Range<usize>,
        weights_cn: &mut Buffer,
        errors_cn: &mut Buffer,
        rule: &impl Rule,
    ) -> Result<(), TchError> {
        let num_columns = self.factor.num_columns();
        let spread = view(&self.factor.spread).map_err(to_torch_error)?;
        let spread: &[f32] = spread
            .as_slice()
            .map_err(|error| TchError::Torch(error.to_string()))?;
        let num_rows = rows.len();
        let weights = weights_cn.as_mut_slice().map_err(to_torch_error)?;
        let errors = errors_cn.as_mut_slice().map_err(to_torch_error)?;
        let place = |column: usize| (column - self.columns.start) * num_rows;
        let mut fixed = [0_f32; CHUNK];
        let fixed = &mut fixed[..num_rows];
        for column in inner.clone() {
            let (weights, later) = weights[place(column)..place(inner.end)].split_at_mut(num_rows);
            let error = &mut errors[place(column)..][..num_rows];
            rule.fix_slice(column, rows.clone(), weights, fixed);
            for ((error, weight), &fixed) in error.iter_mut().zip(weights).zip(&*fixed) {
                *error = fixed - *weight;
                *weight = fixed;
            }
            let spread = &spread[column * num_columns + column + 1..];
            for (later, &factor) in later.chunks_exact_mut(num_rows).zip(spread) {
                for (later, &error) in later.iter_mut().zip(&*error) {
                    *later += factor * error;
                }
            }
        }
        Ok(())
    }

    fn enter(
        &self,
        inner: &Range<usize>,
        rows: Range<usize>,
        weights: &Tensor,
        rule: &mut impl Rule,
    ) -> Result<(), TchError> {
        if is_entered_at_once(self.span) || !inner.start.is_multiple_of(self.span.columns) {
            return Ok(());
        }
        let columns = inner.start..(inner.start + self.span.columns).min(self.columns.end);
        let seen = self.part(weights, columns.clone())?;
        rule.enter(columns, rows, &seen)
    }

    /// What an inner block's errors do to the rest of the block.
    fn pass_on(
        &self,
        inner: &Range<usize>,
        weights: &Tensor,
        errors: &Tensor,
    ) -> Result<(), TchError> {
        let later = inner.end..self.columns.end;
        if !later.is_empty() {
            let errors = self.part(errors, inner.clone())?;
            let spread = self.spread_to(inner.clone(), later.clone())?;
            let _ = self.part(weights, later)?.f_addmm_(&spread, &errors)?;
        }
        Ok(())
    }

    /// Some columns of the block, by their places in all of the weights.
    fn part(&self, of_block: &Tensor, columns: Range<usize>) -> Result<Tensor, TchError> {
        narrow(
            of_block,
            0,
            &(columns.start - self.columns.start..columns.end - self.columns.start),
        )
    }

    /// What errors of some columns do to later ones, `[later, earlier]`.
    fn spread_to(&self, earlier: Range<usize>, later: Range<usize>) -> Result<Tensor, TchError> {
        narrow(&narrow(&self.factor.spread, 0, &earlier)?, 1, &later)?.f_tr()
    }

    /// At most [`INNER`] columns each, within one span.
    fn inner_blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (end, span) = (self.columns.end, self.span.columns);
        let is_within = !is_entered_at_once(self.span);
        let mut start = self.columns.start;
        std::iter::from_fn(move || {
            let span_end = if is_within {
                start - start % span + span
            } else {
                end
            };
            let inner = start..(start + INNER).min(span_end).min(end);
            start = inner.end;
            (!inner.is_empty()).then_some(inner)
        })
    }
}

fn narrow(tensor: &Tensor, dim: i64, range: &Range<usize>) -> Result<Tensor, TchError> {
    tensor.f_narrow(dim, range.start as i64, range.len() as i64)
}

fn to_torch_error(error: PluginError) -> TchError {
    TchError::Torch(error.message)
}
