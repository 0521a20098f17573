//! Weights packed for the CPU's micro-kernels, and products with them that hand over each piece of
//! the result while it is in cache: what follows a product is fused to it.

use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use tch::Tensor;

use crate::buffer::{Buffer, slice};
use crate::error::{Result, TensorError};
use crate::gemm::{Backend, Session, Shape, multiply, pack_transposed, widen_transposed};
use crate::lasting::Lasting;

/// Rows of a weight that are packed together, columns of a piece of the result. 96 is whole in
/// registers and tiles alike (AMX: 6 × 16, AVX-512: 6 vectors) and divides the widths of most
/// models.
pub(crate) const TILE: usize = 96;
/// Rows of a weight that are read at a time where it is packed as it is read.
const PART: usize = 8 * TILE;
/// Tokens of a piece: its f32 results, 48 KiB, stay in the first-level cache or close to it.
pub(crate) const TOKENS: usize = 128;
/// Tokens of a piece where the pieces of two weights are computed together: half as many, for the
/// same memory.
const PAIR_TOKENS: usize = 64;

/// A weight `W [N, K]` in bf16: tiles of [`TILE`] rows, each as `[K / 2][rows][2]`.
#[derive(Debug)]
pub struct PackedWeight {
    /// Aligned to cache lines: tiles that straddle them are loaded at half the speed. Never written
    /// after it was made.
    tiles: Arc<Lasting>,
    backend: Backend,
    num_rows: usize,
    depth: usize,
}

/// A piece of `x Wᵀ`: rows `tokens`, columns `first..first + width`; row `t` begins at `t · TILE`
/// of `values`.
pub(crate) struct Piece<'a> {
    pub(crate) tokens: Range<usize>,
    pub(crate) first: usize,
    pub(crate) width: usize,
    pub(crate) values: &'a mut [f32],
}

impl PackedWeight {
    /// Packs `weight` (`[N, K]` in bf16 on the CPU, `K` even) for products on `backend`.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(weight: &Tensor, backend: Backend) -> Result<Self> {
        let size = [weight.size()[0], weight.size()[1]];
        Self::of_parts(size, backend, |first, count| {
            Ok(weight.f_narrow(0, first, count)?)
        })
    }

    /// Packs a weight of `size` `[N, K]` that comes in parts: `part` gives so many rows from a
    /// first one on, in bf16 on the CPU.
    ///
    /// # Errors
    /// Those of `part`; when there is no memory for it.
    pub fn of_parts<E: From<TensorError>>(
        [num_rows, depth]: [i64; 2],
        backend: Backend,
        mut part: impl FnMut(i64, i64) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        let (num_rows, depth) = (num_rows as usize, depth as usize);
        let mut tiles = Lasting::new(num_rows * depth)?;
        for (idx, tiles) in tiles.chunks_mut(PART * depth).enumerate() {
            let count = tiles.len() / depth;
            let rows = part((idx * PART) as i64, count as i64)?;
            let rows = slice::<bf16>(&rows).chunks(TILE * depth);
            for (rows, tile) in rows.zip(tiles.chunks_mut(TILE * depth)) {
                pack_transposed(rows, rows.len() / depth, depth, tile);
            }
        }
        Ok(Self {
            tiles: Arc::new(tiles),
            backend,
            num_rows,
            depth,
        })
    }

    /// Another handle to the same weight.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            tiles: Arc::clone(&self.tiles),
            backend: self.backend,
            num_rows: self.num_rows,
            depth: self.depth,
        }
    }

    /// `input Wᵀ [T, N]` in f32 of `input [T, K]` in bf16.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn wide_product(&self, input: &Tensor) -> Result<Tensor> {
        let mut out = Buffer::<f32>::new(&[input.size()[0], self.num_rows as i64])?;
        self.product(slice(input), &mut out, false);
        Ok(out.into_tensor())
    }

    /// `N`.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// `K`.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// At most `count` rows from row `first` on, `[n, K]` in f32; in memory a row is a column.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn rows(&self, first: usize, count: usize) -> Result<Tensor> {
        let end = (first + count).min(self.num_rows);
        let count = end - first;
        let mut columns = Buffer::<f32>::new(&[self.depth as i64, count as i64])?;
        for (tile_idx, tile) in self.tiles().skip(first / TILE) {
            let start = tile_idx * TILE;
            if start >= end {
                break;
            }
            let width = tile.len() / self.depth;
            let of_tile = first.max(start) - start..end.min(start + width) - start;
            let at = start + of_tile.start - first;
            widen_transposed(tile, width, of_tile, &mut columns[at..], count);
        }
        Ok(columns.into_tensor().f_transpose(0, 1)?)
    }

    /// Bytes that the weight takes.
    pub fn num_bytes(&self) -> u64 {
        2 * self.tiles.len() as u64
    }

    /// Shows `visit` every piece of `input Wᵀ` (`input` is `[T, K]`). Each tile of the weight is
    /// read once.
    pub(crate) fn for_each_piece(
        &self,
        input: &[bf16],
        mut visit: impl FnMut(Piece<'_>),
    ) -> Result<()> {
        let mut values = Buffer::<f32>::new(&[(TOKENS * TILE) as i64])?;
        let _session = Session::new(self.backend);
        for (tile_idx, tile) in self.tiles() {
            for (tokens, input) in self.chunks(input, TOKENS) {
                let shape = self.shape(tile, tokens.len(), TILE, false);
                multiply(self.backend, &shape, input, tile, &mut values);
                visit(Piece {
                    tokens,
                    first: tile_idx * TILE,
                    width: tile.len() / self.depth,
                    values: &mut values,
                });
            }
        }
        Ok(())
    }

    /// `out = input Wᵀ`, or `out += input Wᵀ` with `accumulate`, in f32 (`out` is `[T, N]`).
    pub(crate) fn product(&self, input: &[bf16], out: &mut [f32], accumulate: bool) {
        self.products_from(0, input, out, self.num_rows, accumulate);
    }

    /// `out = input Wᵀ` in f32 for rows of `out` that are `stride` apart.
    pub(crate) fn product_into(&self, input: &[bf16], out: &mut [f32], stride: usize) {
        self.products_from(0, input, out, stride, false);
    }

    /// `out += input Wᵀ` in the columns from tile `first_tile` on (`out` is `[T, N]`).
    pub(crate) fn add_products_from(&self, first_tile: usize, input: &[bf16], out: &mut [f32]) {
        self.products_from(first_tile, input, out, self.num_rows, true);
    }

    fn products_from(
        &self,
        first_tile: usize,
        input: &[bf16],
        out: &mut [f32],
        stride: usize,
        accumulate: bool,
    ) {
        let _session = Session::new(self.backend);
        for (tile_idx, tile) in self.tiles().skip(first_tile) {
            for (tokens, input) in self.chunks(input, TOKENS) {
                let out = &mut out[tokens.start * stride + tile_idx * TILE..];
                let shape = self.shape(tile, tokens.len(), stride, accumulate);
                multiply(self.backend, &shape, input, tile, out);
            }
        }
    }

    fn tiles(&self) -> impl Iterator<Item = (usize, &[bf16])> {
        self.tiles.chunks(TILE * self.depth).enumerate()
    }

    /// At most `count` tokens at a time, and which.
    fn chunks<'a>(
        &self,
        input: &'a [bf16],
        count: usize,
    ) -> impl Iterator<Item = (Range<usize>, &'a [bf16])> {
        let depth = self.depth;
        input
            .chunks(count * depth)
            .enumerate()
            .map(move |(idx, chunk)| {
                let start = idx * count;
                (start..start + chunk.len() / depth, chunk)
            })
    }

    fn shape(&self, tile: &[bf16], num_tokens: usize, ldc: usize, accumulate: bool) -> Shape {
        let width = tile.len() / self.depth;
        Shape {
            m: num_tokens,
            n: width,
            k: self.depth,
            lda: self.depth,
            ldb: width,
            ldc,
            accumulate,
        }
    }
}

/// Shows `visit` the pieces of `input Gᵀ` and `input Uᵀ` that belong together, for weights of one
/// shape.
pub(crate) fn for_each_pair(
    [gate, up]: [&PackedWeight; 2],
    input: &[bf16],
    mut visit: impl FnMut(Piece<'_>, &[f32]),
) -> Result<()> {
    const SIZE: usize = PAIR_TOKENS * TILE;
    let mut scratch = Buffer::<f32>::new(&[2 * SIZE as i64])?;
    let (gates, ups) = scratch.split_at_mut(SIZE);
    let _session = Session::new(gate.backend);
    for ((tile_idx, gate_tile), (_, up_tile)) in gate.tiles().zip(up.tiles()) {
        for (tokens, input) in gate.chunks(input, PAIR_TOKENS) {
            let shape = gate.shape(gate_tile, tokens.len(), TILE, false);
            multiply(gate.backend, &shape, input, gate_tile, gates);
            multiply(gate.backend, &shape, input, up_tile, ups);
            let piece = Piece {
                tokens,
                first: tile_idx * TILE,
                width: shape.n,
                values: gates,
            };
            visit(piece, ups);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn products_agree_with_libtorchs() {
        for backend in Backend::available() {
            for (num_tokens, num_rows, depth) in
                [(1, 1, 2), (7, 97, 32), (300, 200, 64), (128, 96, 10)]
            {
                check(backend, num_tokens, num_rows, depth);
            }
        }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let size = [230, 10];
        let weight = Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
        let packed = PackedWeight::new(&weight, Backend::Portable).unwrap();
        let weight = weight.to_kind(Kind::Float);
        for (first, count) in [(0, 230), (0, 96), (95, 2), (190, 100), (100, 7)] {
            let expected = weight.narrow(0, first, count.min(size[0] - first));
            let found = packed.rows(first as usize, count as usize).unwrap();
            assert_eq!(found, expected, "{count} rows from {first}");
        }
    }

    fn check(backend: Backend, num_tokens: i64, num_rows: i64, depth: i64) {
        let random = |rows: i64, columns: i64| {
            Tensor::randn([rows, columns], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16)
        };
        let (input, weight) = (random(num_tokens, depth), random(num_rows, depth));
        let expected = input
            .to_kind(Kind::Float)
            .matmul(&weight.to_kind(Kind::Float).transpose(0, 1));
        let packed = PackedWeight::new(&weight, backend).unwrap();
        let close = |found: Buffer<f32>, expected: &Tensor| {
            let error = (found.into_tensor() - expected).abs().max();
            let error = error.double_value(&[]);
            assert!(
                error < 1e-4,
                "{backend:?}, {num_tokens}×{num_rows}×{depth}: {error}"
            );
        };
        let size = [num_tokens, num_rows];
        let ones = || {
            let mut ones = Buffer::<f32>::new(&size).unwrap();
            ones.fill(1.0);
            ones
        };

        let mut added = ones();
        packed.product(slice(&input), &mut added, true);
        close(added, &(&expected + 1.0));
        let mut replaced = ones();
        packed.product(slice(&input), &mut replaced, false);
        close(replaced, &expected);

        let mut pieced = ones();
        packed
            .for_each_piece(slice(&input), |piece| {
                for (token, values) in piece.tokens.zip(piece.values.chunks(TILE)) {
                    pieced[token * num_rows as usize + piece.first..][..piece.width]
                        .copy_from_slice(&values[..piece.width]);
                }
            })
            .unwrap();
        close(pieced, &expected);
    }
}
