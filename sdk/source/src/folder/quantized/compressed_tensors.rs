//! Checkpoints of compressed-tensors. For a weight `[N, K]` of `b` bits in so many cells:
//!
//! | tensor | `pack-quantized` | `int-quantized`, `float-quantized` |
//! |---|---|---|
//! | `weight_packed` | int32 `[N, ⌈K·b/32⌉]`: a row's codes as one bit stream, counted from −2^(b−1) | |
//! | `weight` | | int8 or F8_E4M3 `[N, K]` |
//! | `weight_scale` | a number for each cell | a number for each cell |
//! | `weight_zero_point` | int32 `[⌈N·b/32⌉, G]`: a group's zeros over the rows; none where symmetric | int8, one for each cell |
//! | `weight_shape` | int64 `[2]`: N, K | |
//! | `weight_g_idx` | int32 `[K]`: each column's group; absent where groups are in order | |

use super::coded::{Cells, CodedWeight, Codes, Lines, Table, Words, Zero};
use super::parts::Parts;
use super::schemes::{Kind, Scheme, Schemes, Strategy};
use super::settings::Settings;
use crate::error::SourceError;

/// What `quantization_config` says.
pub(super) struct CompressedTensors {
    schemes: Schemes,
}

impl CompressedTensors {
    pub(super) fn parse(settings: &Settings<'_>) -> Result<Self, SourceError> {
        let schemes = Schemes::parse(settings)?;
        Ok(Self { schemes })
    }

    pub(super) fn coded<'a>(
        &self,
        parts: Parts<'a, '_>,
    ) -> Result<Option<CodedWeight<'a>>, SourceError> {
        let is_packed = parts.has("weight_packed");
        let is_plain = matches!(parts.dtype("weight"), Some("I8" | "F8_E4M3"));
        if !is_packed && !is_plain {
            return Ok(None);
        }
        let scheme = self.schemes.of_module(&parts)?;
        let (row_block, column_block) = scheme.strategy.block(parts.rows, parts.columns);
        if matches!(scheme.strategy, Strategy::Group(_)) && parts.columns % column_block != 0 {
            return Err(parts.malformed(&format!(
                "{} has groups of {column_block} of {} columns, expected whole groups",
                parts.module, parts.columns
            )));
        }
        let mut cells = Cells::blocks(
            row_block as usize,
            column_block as usize,
            parts.columns as usize,
        );
        if parts.has("weight_g_idx") {
            cells.of_columns = parts.groups("weight_g_idx", cells.num_columns as i64)?;
        }
        let cell_rows = (parts.rows as u64).div_ceil(row_block as u64) as i64;
        let of_cells = |part: &str| parts.shape_of_cells(part, cell_rows, cells.num_columns as i64);
        let numbers = parts.floats("weight_scale", &of_cells("weight_scale"))?;
        let (codes, zero) = match is_packed {
            true => packed(&parts, scheme, &cells)?,
            false => plain(&parts, scheme, &of_cells("weight_zero_point"), &cells)?,
        };
        Ok(Some(CodedWeight {
            rows: parts.rows as usize,
            columns: parts.columns as usize,
            codes,
            zero,
            scales: Table {
                numbers,
                strides: (cells.num_columns, 1),
            },
            cells,
        }))
    }
}

/// Codes and zeros in 32-bit words.
fn packed<'a>(
    parts: &Parts<'a, '_>,
    scheme: &Scheme,
    cells: &Cells,
) -> Result<(Codes<'a>, Zero<'a>), SourceError> {
    let (rows, columns) = (parts.rows, parts.columns);
    let num_words = |count: i64| (count as u64 * scheme.bits as u64).div_ceil(32) as i64;
    let shape = parts.bytes("weight_shape", "I64", &[2])?;
    if shape != [rows, columns].map(i64::to_le_bytes).concat() {
        let what = format!("{} is not [{rows}, {columns}]", parts.name("weight_shape"));
        return Err(parts.malformed(&what));
    }
    let words = |words, strides, lines| {
        Codes::Words(Words {
            bits: scheme.bits as usize,
            words,
            strides,
            lines,
        })
    };
    let of_row = num_words(columns);
    let codes = parts.words("weight_packed", &[rows, of_row])?;
    let codes = words(codes, (1, of_row as usize), Lines::Rows);
    let zero = match scheme.is_symmetric {
        true => Zero::Everywhere(f32::from(1_u8 << (scheme.bits - 1))),
        false => {
            let shape = [num_words(rows), cells.num_columns as i64];
            let zeros = parts.words("weight_zero_point", &shape)?;
            Zero::OfCells(words(zeros, (cells.num_columns, 1), Lines::Columns), 0.0)
        }
    };
    Ok((codes, zero))
}

/// Codes and zeros in a byte each.
fn plain<'a>(
    parts: &Parts<'a, '_>,
    scheme: &Scheme,
    shape_of_zeros: &[i64],
    cells: &Cells,
) -> Result<(Codes<'a>, Zero<'a>), SourceError> {
    let columns = parts.columns as usize;
    let bytes = |dtype| parts.bytes("weight", dtype, &[parts.rows, parts.columns]);
    let codes = match scheme.kind {
        Kind::Int => Codes::Int8(bytes("I8")?, columns),
        Kind::Float => Codes::Float8(bytes("F8_E4M3")?, columns),
    };
    let zero = match scheme.is_symmetric {
        true => Zero::Everywhere(0.0),
        false => {
            let zeros = parts.bytes("weight_zero_point", "I8", shape_of_zeros)?;
            Zero::OfCells(Codes::Int8(zeros, cells.num_columns), 0.0)
        }
    };
    Ok((codes, zero))
}
