//! Weights packed for the CPU's micro-kernels, and products with them that hand over each piece of the result while it is
//! in cache: what follows a product is fused to it.

use std::ops::Range;

use half::bf16;
use tch::{Device, Kind, Tensor};

use super::brgemm::{self, Gemm, Session};
use super::{slice, slice_mut};
use crate::error::Result;

/// Rows of a weight that are packed together, columns of a piece of the result. 96 is whole in registers and tiles alike
/// (AMX: 6 × 16, AVX-512: 6 vectors) and divides the widths of most models.
pub(crate) const TILE: usize = 96;
/// Tokens of a piece: its f32 results, 48 KiB, stay in the first-level cache or close to it.
pub(super) const TOKENS: usize = 128;
/// The same for two pieces at once.
const PAIR_TOKENS: usize = 64;

/// A weight `W [N, K]` in bf16: tiles of [`TILE`] rows, each as `[K / 2][rows][2]`.
#[derive(Debug)]
pub(crate) struct PackedWeight {
    /// Memory that libtorch aligns to cache lines: tiles that straddle them are loaded at half the speed.
    tiles: Tensor,
    num_rows: usize,
    depth: usize,
}

/// A piece of `x Wᵀ`: rows `tokens`, columns `first..first + width`; row `t` begins at `t · TILE` of `values`.
pub(super) struct Piece<'a> {
    pub(super) tokens: Range<usize>,
    pub(super) first: usize,
    pub(super) width: usize,
    pub(super) values: &'a [f32],
}

impl PackedWeight {
    /// Packs `weight` (`[N, K]` in bf16 on the CPU, `K` even).
    pub(crate) fn new(weight: &Tensor) -> Result<Self> {
        let (num_rows, depth) = (weight.size()[0] as usize, weight.size()[1] as usize);
        let mut tiles = Tensor::f_empty([weight.numel() as i64], (Kind::BFloat16, Device::Cpu))?;
        for (rows, tile) in slice(weight)
            .chunks(TILE * depth)
            .zip(slice_mut(&mut tiles).chunks_mut(TILE * depth))
        {
            brgemm::pack_transposed(rows, rows.len() / depth, depth, tile);
        }
        Ok(Self {
            tiles,
            num_rows,
            depth,
        })
    }

    /// Another handle to the same weight.
    pub(crate) fn share(&self) -> Self {
        Self {
            tiles: self.tiles.shallow_clone(),
            num_rows: self.num_rows,
            depth: self.depth,
        }
    }

    /// `N`.
    pub(super) fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Bytes that the weight takes.
    pub(crate) fn num_bytes(&self) -> u64 {
        2 * self.tiles.numel() as u64
    }

    /// Shows `visit` every piece of `input Wᵀ` (`input` is `[T, K]`). Each tile of the weight is read once.
    pub(super) fn for_each_piece(
        &self,
        input: &[bf16],
        mut visit: impl FnMut(Piece<'_>),
    ) -> Result<()> {
        let mut scratch = Tensor::f_empty([(TOKENS * TILE) as i64], (Kind::Float, Device::Cpu))?;
        let values = slice_mut::<f32>(&mut scratch);
        let _session = Session;
        for (tile_idx, tile) in self.tiles() {
            for (tokens, input) in self.chunks(input, TOKENS) {
                self.gemm(tile, tokens.len(), TILE, false)
                    .run(input, tile, values);
                visit(Piece {
                    tokens,
                    first: tile_idx * TILE,
                    width: tile.len() / self.depth,
                    values,
                });
            }
        }
        Ok(())
    }

    /// `out = input Wᵀ`, or `out += input Wᵀ` with `accumulate`, in f32 (`out` is `[T, N]`).
    pub(super) fn product(&self, input: &[bf16], out: &mut [f32], accumulate: bool) {
        self.products_from(0, input, out, self.num_rows, accumulate);
    }

    /// `out = input Wᵀ` in f32 for rows of `out` that are `stride` apart.
    pub(super) fn product_into(&self, input: &[bf16], out: &mut [f32], stride: usize) {
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
        let _session = Session;
        for (tile_idx, tile) in self.tiles().skip(first_tile) {
            for (tokens, input) in self.chunks(input, TOKENS) {
                let out = &mut out[tokens.start * stride + tile_idx * TILE..];
                self.gemm(tile, tokens.len(), stride, accumulate)
                    .run(input, tile, out);
            }
        }
    }

    fn tiles(&self) -> impl Iterator<Item = (usize, &[bf16])> {
        slice::<bf16>(&self.tiles)
            .chunks(TILE * self.depth)
            .enumerate()
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

    fn gemm(&self, tile: &[bf16], num_tokens: usize, ldc: usize, accumulate: bool) -> Gemm {
        let width = tile.len() / self.depth;
        Gemm {
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

/// Shows `visit` the pieces of `input Gᵀ` and `input Uᵀ` that belong together, for weights of one shape.
pub(super) fn for_each_pair(
    [gate, up]: [&PackedWeight; 2],
    input: &[bf16],
    mut visit: impl FnMut(Piece<'_>, &[f32]),
) -> Result<()> {
    const SIZE: usize = PAIR_TOKENS * TILE;
    let mut scratch = Tensor::f_empty([2 * SIZE as i64], (Kind::Float, Device::Cpu))?;
    let (gates, ups) = slice_mut::<f32>(&mut scratch).split_at_mut(SIZE);
    let _session = Session;
    for ((tile_idx, gate_tile), (_, up_tile)) in gate.tiles().zip(up.tiles()) {
        for (tokens, input) in gate.chunks(input, PAIR_TOKENS) {
            let gemm = gate.gemm(gate_tile, tokens.len(), TILE, false);
            gemm.run(input, gate_tile, gates);
            gemm.run(input, up_tile, ups);
            let piece = Piece {
                tokens,
                first: tile_idx * TILE,
                width: gemm.n,
                values: gates,
            };
            visit(piece, ups);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_libtorchs() {
        if !brgemm::is_available() {
            return;
        }
        for (num_tokens, num_rows, depth) in [(1, 1, 2), (7, 97, 32), (300, 200, 64), (128, 96, 10)]
        {
            let random = |rows: i64, columns: i64| {
                Tensor::randn([rows, columns], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16)
            };
            let (input, weight) = (random(num_tokens, depth), random(num_rows, depth));
            let expected = input
                .to_kind(Kind::Float)
                .matmul(&weight.to_kind(Kind::Float).transpose(0, 1));
            let packed = PackedWeight::new(&weight).unwrap();
            let close = |found: &Tensor, expected: &Tensor| {
                let error = (found - expected).abs().max().double_value(&[]);
                assert!(error < 1e-4, "{num_tokens}×{num_rows}×{depth}: {error}");
            };

            let mut whole = Tensor::ones([num_tokens, num_rows], (Kind::Float, Device::Cpu));
            packed.product(slice(&input), slice_mut(&mut whole), true);
            close(&whole, &(&expected + 1.0));
            packed.product(slice(&input), slice_mut(&mut whole), false);
            close(&whole, &expected);

            let mut pieced = Tensor::zeros([num_tokens, num_rows], (Kind::Float, Device::Cpu));
            let out = slice_mut::<f32>(&mut pieced);
            packed
                .for_each_piece(slice(&input), |piece| {
                    for (token, values) in piece.tokens.zip(piece.values.chunks(TILE)) {
                        out[token * num_rows as usize + piece.first..][..piece.width]
                            .copy_from_slice(&values[..piece.width]);
                    }
                })
                .unwrap();
            close(&pieced, &expected);
        }
    }
}
