//! A weight as codes on a grid: `weight = (code − zero) · scale`, with one zero and one scale for
//! each cell of the weight.

use std::fmt;
use std::ops::Range;

use super::float8::E4M3;
use super::parts::Floats;
use crate::on_threads::on_threads;

/// Rows and columns that are decoded at a time, so that what they are read from stays in the
/// processor's cache whichever way it is laid out.
const TILE: usize = 64;
/// Below this many bytes a second thread costs more than it saves.
const MIN_BYTES_PER_THREAD: usize = 1 << 18;
const F32_BYTES: usize = size_of::<f32>();

/// A weight `[rows, columns]`.
pub(super) struct CodedWeight<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) codes: Codes<'a>,
    pub(super) cells: Cells,
    pub(super) zero: Zero<'a>,
    pub(super) scales: Table<Floats<'a>>,
}

/// What the files have of each weight, or of each zero.
pub(super) enum Codes<'a> {
    Words(Words<'a>),
    /// Signed bytes, row-major with this many columns.
    Int8(&'a [u8], usize),
    /// Floats of eight bits, row-major with this many columns.
    Float8(&'a [u8], usize),
}

/// Numbers of `bits` bits in little-endian int32 words: number `i` of line `l` begins at bit
/// `i · bits` of that line's words.
pub(super) struct Words<'a> {
    pub(super) bits: usize,
    pub(super) words: &'a [[u8; 4]],
    /// Words from one to the next of a line, and from line to line.
    pub(super) strides: (usize, usize),
    pub(super) lines: Lines,
}

/// What a line of words holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// The columns of a row.
    Rows,
    /// The rows of a column.
    Columns,
    /// The rows of a column, of which every eight stand in the order 0, 2, 4, 6, 1, 3, 5, 7.
    InterleavedColumns,
}

/// Which cell a weight is in.
pub(super) struct Cells {
    /// Rows of the weight that a row of cells has.
    pub(super) row_block: usize,
    /// The column of cells that each column of the weight is in.
    pub(super) of_columns: Vec<u32>,
    /// Columns of cells.
    pub(super) num_columns: usize,
}

/// What is subtracted from the codes.
pub(super) enum Zero<'a> {
    /// One number from all.
    Everywhere(f32),
    /// A number for each row and column of cells, and what is added to it.
    OfCells(Codes<'a>, f32),
}

/// One number for each cell.
pub(super) struct Table<T> {
    pub(super) numbers: T,
    /// Numbers from one row of cells to the next, and from one column of cells to the next.
    pub(super) strides: (usize, usize),
}

impl Cells {
    /// Cells of `row_block` rows and `column_block` columns, of a weight with `columns` columns.
    pub(super) fn blocks(row_block: usize, column_block: usize, columns: usize) -> Self {
        let of_columns = (0..columns).map(|column| (column / column_block) as u32);
        Self {
            row_block,
            of_columns: of_columns.collect(),
            num_columns: columns.div_ceil(column_block),
        }
    }
}

impl CodedWeight<'_> {
    /// Writes the weight to `out`, little-endian f32.
    pub(super) fn decode(&self, out: &mut [u8]) {
        let cells = self.cell_values();
        let row_bytes = self.columns * F32_BYTES;
        on_threads(out, row_bytes, MIN_BYTES_PER_THREAD, |first_row, out| {
            let num_rows = out.len() / row_bytes;
            for tile_row in (0..num_rows).step_by(TILE) {
                for tile_column in (0..self.columns).step_by(TILE) {
                    let columns = tile_column..self.columns.min(tile_column + TILE);
                    for row in tile_row..num_rows.min(tile_row + TILE) {
                        let of_row = (first_row + row) / self.cells.row_block;
                        let of_row = &cells[of_row * self.cells.num_columns..];
                        let bytes = columns.start * F32_BYTES..columns.end * F32_BYTES;
                        let (words, _) = out[row * row_bytes..][bytes].as_chunks_mut();
                        self.decode_piece(first_row + row, columns.clone(), of_row, words);
                    }
                }
            }
        });
    }

    /// Writes a few columns of a row, whose cells have these zeros and scales.
    fn decode_piece(
        &self,
        row: usize,
        columns: Range<usize>,
        cells: &[(f32, f32)],
        out: &mut [[u8; F32_BYTES]],
    ) {
        let mut codes = [0.0; TILE];
        let codes = &mut codes[..out.len()];
        self.codes.read(row, columns.clone(), codes);
        let of_columns = &self.cells.of_columns[columns];
        let first = of_columns[0];
        if of_columns.iter().all(|cell| *cell == first) {
            let (zero, scale) = cells[first as usize];
            for (word, code) in out.iter_mut().zip(codes) {
                *word = ((*code - zero) * scale).to_le_bytes();
            }
            return;
        }
        for ((word, code), cell) in out.iter_mut().zip(codes).zip(of_columns) {
            let (zero, scale) = cells[*cell as usize];
            *word = ((*code - zero) * scale).to_le_bytes();
        }
    }

    /// Zero and scale of every cell, row by row.
    fn cell_values(&self) -> Vec<(f32, f32)> {
        let num_rows = self.rows.div_ceil(self.cells.row_block);
        let num_columns = self.cells.num_columns;
        let mut values = Vec::with_capacity(num_rows * num_columns);
        let mut of_row = vec![0.0; num_columns];
        for row in 0..num_rows {
            match &self.zero {
                Zero::Everywhere(zero) => of_row.fill(*zero),
                Zero::OfCells(zeros, more) => {
                    zeros.read(row, 0..num_columns, &mut of_row);
                    of_row.iter_mut().for_each(|zero| *zero += more);
                }
            }
            let (by_row, by_column) = self.scales.strides;
            let scale = |column| self.scales.numbers.at(row * by_row + column * by_column);
            let zeros = of_row.iter().enumerate();
            values.extend(zeros.map(|(column, zero)| (*zero, scale(column))));
        }
        values
    }
}

impl Codes<'_> {
    /// Reads some columns of a row, as many as `out` has room for.
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        match self {
            Self::Words(words) => match words.lines {
                Lines::Rows => words.along(row, columns.start, out),
                Lines::Columns => words.across(columns.start, row, out),
                Lines::InterleavedColumns => words.across(columns.start, interleaved(row), out),
            },
            Self::Int8(bytes, num_columns) => {
                let bytes = &bytes[row * num_columns..][columns];
                for (number, byte) in out.iter_mut().zip(bytes) {
                    *number = f32::from(byte.cast_signed());
                }
            }
            Self::Float8(bytes, num_columns) => {
                let bytes = &bytes[row * num_columns..][columns];
                for (number, byte) in out.iter_mut().zip(bytes) {
                    *number = E4M3[usize::from(*byte)];
                }
            }
        }
    }
}

impl fmt::Display for Codes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => write!(f, "{}-bit", words.bits),
            Self::Int8(..) => f.write_str("8-bit"),
            Self::Float8(..) => f.write_str("fp8"),
        }
    }
}

impl Words<'_> {
    fn word(&self, line: usize, at: usize) -> u64 {
        let (along, across) = self.strides;
        u64::from(u32::from_le_bytes(self.words[at * along + line * across]))
    }

    fn mask(&self) -> u64 {
        (1 << self.bits) - 1
    }

    /// Reads numbers of a line, from one on.
    fn along(&self, line: usize, first: usize, out: &mut [f32]) {
        let (mut at, skipped) = (first * self.bits / 32, first * self.bits % 32);
        let (mut window, mut num_bits) = (self.word(line, at) >> skipped, 32 - skipped);
        for number in out {
            if num_bits < self.bits {
                at += 1;
                window |= self.word(line, at) << num_bits;
                num_bits += 32;
            }
            *number = (window & self.mask()) as u32 as f32;
            (window, num_bits) = (window >> self.bits, num_bits - self.bits);
        }
    }

    /// Reads one number of each line, from one line on.
    fn across(&self, first_line: usize, idx: usize, out: &mut [f32]) {
        let (at, shift) = (idx * self.bits / 32, idx * self.bits % 32);
        let goes_on = shift + self.bits > 32;
        for (number, line) in out.iter_mut().zip(first_line..) {
            let mut window = self.word(line, at);
            if goes_on {
                window |= self.word(line, at + 1) << 32;
            }
            *number = (window >> shift & self.mask()) as u32 as f32;
        }
    }
}

/// Where the number of a row is within a line that has every eight in the order 0, 2, 4, 6, 1, 3,
/// 5, 7.
fn interleaved(row: usize) -> usize {
    let in_eight = row % 8;
    row - in_eight + in_eight / 2 + in_eight % 2 * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_cross_the_ends_of_words() {
        // 3 bits: 0, 1, …, 7, 0, 1, … as one stream over two lines.
        let line: u128 = (0..32_u128).map(|idx| (idx % 8) << (3 * idx)).sum();
        let words: Vec<[u8; 4]> = [line, line]
            .iter()
            .flat_map(|line| {
                let bytes = line.to_le_bytes();
                [0, 4, 8].map(|at| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            })
            .collect();
        let words = Words {
            bits: 3,
            words: &words,
            strides: (1, 3),
            lines: Lines::Rows,
        };
        let expected: Vec<f32> = (0..32).map(|idx| (idx % 8) as f32).collect();
        for first in [0, 9, 10, 11, 31] {
            let mut numbers = vec![0.0; 32 - first];
            words.along(1, first, &mut numbers);
            assert_eq!(numbers, expected[first..], "from {first} on");
        }
        for (idx, number) in expected.into_iter().enumerate() {
            let mut numbers = [0.0; 2];
            words.across(0, idx, &mut numbers);
            assert_eq!(numbers, [number; 2]);
        }
    }

    #[test]
    fn eight_rows_are_interleaved() {
        let order: Vec<usize> = (8..16).map(interleaved).collect();
        assert_eq!(order, [8, 12, 9, 13, 10, 14, 11, 15]);
    }
}
