//! The same bf16 products with f32 output for CPUs without bf16 units: numbers are widened to f32 in registers and
//! multiplied there (AVX2 and FMA). Weights stay bf16 in memory, so a product reads half of what an f32 one would.

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::product;

use super::brgemm::Gemm;

/// Whether this CPU can.
pub(super) fn is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Never called: `is_available` says no.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn product(_: &Gemm, _: &[half::bf16], _: &[half::bf16], _: &mut [f32]) {}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{
        __m256, __m256i, _mm256_and_si256, _mm256_broadcast_ss, _mm256_castsi256_ps,
        _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_maskload_epi32, _mm256_maskload_ps,
        _mm256_maskstore_ps, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_slli_epi32,
        _mm256_storeu_ps,
    };
    use std::cell::RefCell;

    use half::bf16;

    use super::Gemm;

    /// Rows of A and columns of B: their 10 accumulators, 4 vectors of B and a factor fit the 16 registers.
    const ROWS: usize = 5;
    const COLUMNS: usize = 16;
    /// Depth of a product; what is deeper adds up in C.
    const DEPTH: usize = 768;

    /// Rows of A that are widened at once: as f32 they take 360 KiB of the second-level cache, and a strip of B stays in the first.
    const BLOCK: usize = 24 * ROWS;

    thread_local! {
        static WIDE: RefCell<Vec<[f32; DEPTH]>> = RefCell::default();
    }

    /// `C (+)= A · B`; the extents have been checked by the caller.
    pub(in super::super) fn product(gemm: &Gemm, a: &[bf16], b: &[bf16], c: &mut [f32]) {
        WIDE.with_borrow_mut(|wide| {
            wide.resize(BLOCK, [0.0; DEPTH]);
            for first_depth in (0..gemm.k).step_by(DEPTH) {
                let depth = DEPTH.min(gemm.k - first_depth);
                for first_row in (0..gemm.m).step_by(BLOCK) {
                    let rows = BLOCK.min(gemm.m - first_row);
                    let a = &a[first_row * gemm.lda + first_depth..];
                    // SAFETY: the caller has asked `is_available`.
                    unsafe { widen(a, gemm.lda, rows, depth, wide) };
                    for first in (0..gemm.n).step_by(COLUMNS) {
                        let strip = Strip {
                            b: &b[first_depth * gemm.ldb + 2 * first..],
                            ldb: gemm.ldb,
                            ldc: gemm.ldc,
                            width: COLUMNS.min(gemm.n - first),
                            depth,
                            accumulate: gemm.accumulate || first_depth > 0,
                        };
                        for row in (0..rows).step_by(ROWS) {
                            let c = &mut c[(first_row + row) * gemm.ldc + first..];
                            strip.run(ROWS.min(rows - row), &wide[row..], c);
                        }
                    }
                }
            }
        });
    }

    /// `rows` rows of A as f32.
    #[target_feature(enable = "avx2")]
    fn widen(a: &[bf16], lda: usize, rows: usize, depth: usize, wide: &mut [[f32; DEPTH]]) {
        for (numbers, out) in a.chunks(lda).zip(wide).take(rows) {
            for (number, out) in numbers[..depth].iter().zip(out) {
                *out = f32::from_bits(u32::from(number.to_bits()) << 16);
            }
        }
    }

    /// Up to [`COLUMNS`] columns of B, packed as `[depth / 2][ldb][2]`.
    struct Strip<'a> {
        b: &'a [bf16],
        ldb: usize,
        ldc: usize,
        width: usize,
        depth: usize,
        accumulate: bool,
    }

    impl Strip<'_> {
        fn run(&self, rows: usize, panel: &[[f32; DEPTH]], c: &mut [f32]) {
            assert!(self.depth <= DEPTH && (1..=COLUMNS).contains(&self.width));
            assert!(self.b.len() >= ((self.depth / 2 - 1) * self.ldb + self.width) * 2);
            assert!(c.len() >= (rows - 1) * self.ldc + self.width);
            // SAFETY: the extents were just checked; the caller has asked `is_available`.
            unsafe {
                match rows {
                    1 => self.kernel::<1>(panel, c),
                    2 => self.kernel::<2>(panel, c),
                    3 => self.kernel::<3>(panel, c),
                    4 => self.kernel::<4>(panel, c),
                    _ => self.kernel::<ROWS>(panel, c),
                }
            }
        }

        /// # Safety
        /// The CPU has AVX2 and FMA; `b` and `c` reach as far as `run` checks.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn kernel<const M: usize>(&self, panel: &[[f32; DEPTH]], c: &mut [f32]) {
            let panel: &[[f32; DEPTH]; M] = panel[..M].try_into().expect("it has M rows");
            // Lanes beyond the width are masked out. (Plain loads are checked one by one in builds with debug assertions.)
            let masks = [mask(self.width), mask(self.width.saturating_sub(8))];
            let mut sums = [[_mm256_setzero_ps(); 2]; M];
            if self.accumulate {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for half in 0..2 {
                        let at = c.as_ptr().wrapping_add(row * self.ldc + 8 * half);
                        // SAFETY: within `c`, or masked out.
                        sums[half] = unsafe { _mm256_maskload_ps(at, masks[half]) };
                    }
                }
            }
            let high_half = _mm256_set1_epi32(0xFFFF_0000_u32 as i32);
            let mut b = self.b.as_ptr();
            for pair in 0..(self.depth / 2).min(DEPTH / 2) {
                let mut pairs = [high_half; 2];
                for half in 0..2 {
                    let at = b.wrapping_add(16 * half).cast();
                    // SAFETY: within `b`, or masked out.
                    pairs[half] = unsafe { _mm256_maskload_epi32(at, masks[half]) };
                }
                // A pair holds two depths of one column: the lower is the even one.
                let even = pairs.map(|pair| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pair)));
                let odd = pairs.map(|pair| _mm256_castsi256_ps(_mm256_and_si256(pair, high_half)));
                for (row, sums) in panel.iter().zip(&mut sums) {
                    add_product(sums, &row[2 * pair], &even);
                }
                for (row, sums) in panel.iter().zip(&mut sums) {
                    add_product(sums, &row[2 * pair + 1], &odd);
                }
                b = b.wrapping_add(2 * self.ldb);
            }
            for (row, sums) in sums.iter().enumerate() {
                for half in 0..2 {
                    let at = c.as_mut_ptr().wrapping_add(row * self.ldc + 8 * half);
                    // SAFETY: within `c`, or masked out. (Masked stores are slow on many CPUs.)
                    unsafe {
                        if self.width == COLUMNS {
                            _mm256_storeu_ps(at, sums[half]);
                        } else {
                            _mm256_maskstore_ps(at, masks[half], sums[half]);
                        }
                    }
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add_product(sums: &mut [__m256; 2], factor: &f32, columns: &[__m256; 2]) {
        let factor = _mm256_broadcast_ss(factor);
        for half in 0..2 {
            sums[half] = _mm256_fmadd_ps(factor, columns[half], sums[half]);
        }
    }

    /// The first `width` lanes.
    #[target_feature(enable = "avx2")]
    fn mask(width: usize) -> __m256i {
        let lanes: [i32; 8] = std::array::from_fn(|lane| if lane < width { -1 } else { 0 });
        // SAFETY: an array of eight i32 is what a register holds.
        unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
    }
}
