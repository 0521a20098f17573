//! Products for CPUs without bf16 units: numbers are widened to f32 in registers and multiplied
//! there (AVX2 and FMA). Weights stay bf16 in memory, so a product reads half of what an f32 one
//! would.

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::product;

use super::shape::Shape;

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
pub(super) fn product(_: &Shape, _: &[half::bf16], _: &[half::bf16], _: &mut [f32]) {}

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

    use super::Shape;

    /// Rows of A and vectors of columns of B: their 12 accumulators, 2 vectors of B and a factor
    /// fit the 16 registers.
    const ROWS: usize = 6;
    const VECTORS: usize = 2;
    const COLUMNS: usize = 8 * VECTORS;
    /// Depth of a product; what is deeper adds up in C. A strip of B takes 20 KiB of the
    /// first-level cache as f32.
    const DEPTH: usize = 320;
    /// Rows of A that are widened at once.
    const BLOCK: usize = 22 * ROWS;

    type Row = [f32; DEPTH];
    type Strip = [[__m256; VECTORS]; DEPTH];

    thread_local! {
        static WIDE: RefCell<Option<Box<Wide>>> = const { RefCell::new(None) };
    }

    /// Numbers of A and B as f32, each widened once for many products.
    struct Wide {
        rows: [Row; BLOCK],
        strip: Strip,
    }

    impl Wide {
        #[target_feature(enable = "avx2")]
        fn new() -> Box<Self> {
            Box::new(Self {
                rows: [[0.0; DEPTH]; BLOCK],
                strip: [[_mm256_setzero_ps(); VECTORS]; DEPTH],
            })
        }
    }

    /// `C (+)= A · B`; the extents have been checked by the caller.
    pub(in super::super) fn product(shape: &Shape, a: &[bf16], b: &[bf16], c: &mut [f32]) {
        WIDE.with_borrow_mut(|wide| {
            // SAFETY: the caller has asked `is_available`.
            let wide = wide.get_or_insert_with(|| unsafe { Wide::new() });
            for first_depth in (0..shape.k).step_by(DEPTH) {
                let depth = DEPTH.min(shape.k - first_depth);
                let accumulate = shape.accumulate || first_depth > 0;
                for first_row in (0..shape.m).step_by(BLOCK) {
                    let num_rows = BLOCK.min(shape.m - first_row);
                    let a = &a[first_row * shape.lda + first_depth..];
                    // SAFETY: as above.
                    unsafe { widen_rows(a, shape.lda, depth, &mut wide.rows[..num_rows]) };
                    for first in (0..shape.n).step_by(COLUMNS) {
                        let width = COLUMNS.min(shape.n - first);
                        let b = &b[first_depth * shape.ldb + 2 * first..];
                        // SAFETY: as above.
                        unsafe { widen_strip(b, shape.ldb, width, depth, &mut wide.strip) };
                        let panel = Panel {
                            strip: &wide.strip,
                            depth,
                            width,
                            // SAFETY: as above.
                            masks: unsafe { masks(width) },
                            ldc: shape.ldc,
                            accumulate,
                        };
                        for (idx, rows) in wide.rows[..num_rows].chunks(ROWS).enumerate() {
                            panel.run(rows, &mut c[(first_row + idx * ROWS) * shape.ldc + first..]);
                        }
                    }
                }
            }
        });
    }

    /// The first `depth` numbers of rows of A.
    #[target_feature(enable = "avx2")]
    fn widen_rows(a: &[bf16], lda: usize, depth: usize, rows: &mut [Row]) {
        for (numbers, row) in a.chunks(lda).zip(rows) {
            for (number, wide) in numbers[..depth].iter().zip(row) {
                *wide = f32::from_bits(u32::from(number.to_bits()) << 16);
            }
        }
    }

    /// Up to [`COLUMNS`] columns of B, packed as `[depth / 2][ldb][2]`; those beyond the width
    /// become 0. (In B they are `ldb` apart, which maps many of them to few places of the
    /// first-level cache.)
    #[target_feature(enable = "avx2")]
    fn widen_strip(b: &[bf16], ldb: usize, width: usize, depth: usize, strip: &mut Strip) {
        let masks = masks(width);
        let high_half = _mm256_set1_epi32(0xFFFF_0000_u32 as i32);
        assert!(b.len() >= ((depth / 2 - 1) * ldb + width) * 2);
        for (pair, wide) in strip[..depth].chunks_exact_mut(2).enumerate() {
            let at = b[2 * pair * ldb..].as_ptr();
            for (idx, mask) in masks.into_iter().enumerate() {
                // SAFETY: within `b`, or masked out.
                let pairs =
                    unsafe { _mm256_maskload_epi32(at.wrapping_add(16 * idx).cast(), mask) };
                // A pair holds two depths of one column: the lower is the even one.
                wide[0][idx] = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
                wide[1][idx] = _mm256_castsi256_ps(_mm256_and_si256(pairs, high_half));
            }
        }
    }

    /// A widened strip and where its products go.
    struct Panel<'a> {
        strip: &'a Strip,
        depth: usize,
        width: usize,
        /// Lanes beyond the width are masked out. (Plain loads are checked one by one in builds
        /// with debug assertions.)
        masks: [__m256i; VECTORS],
        ldc: usize,
        accumulate: bool,
    }

    impl Panel<'_> {
        fn run(&self, rows: &[Row], c: &mut [f32]) {
            assert!(c.len() >= (rows.len() - 1) * self.ldc + self.width);
            // SAFETY: the extent was just checked; the caller has asked `is_available`.
            unsafe {
                match rows.len() {
                    1 => self.kernel::<1>(rows, c),
                    2 => self.kernel::<2>(rows, c),
                    3 => self.kernel::<3>(rows, c),
                    4 => self.kernel::<4>(rows, c),
                    5 => self.kernel::<5>(rows, c),
                    _ => self.kernel::<ROWS>(rows, c),
                }
            }
        }

        /// # Safety
        /// The CPU has AVX2 and FMA; `c` reaches as far as `run` checks.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn kernel<const M: usize>(&self, rows: &[Row], c: &mut [f32]) {
            let rows: &[Row; M] = rows[..M].try_into().expect("it has M rows");
            let mut sums = [[_mm256_setzero_ps(); VECTORS]; M];
            if self.accumulate {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (idx, (sum, mask)) in sums.iter_mut().zip(self.masks).enumerate() {
                        let at = c.as_ptr().wrapping_add(row * self.ldc + 8 * idx);
                        // SAFETY: within `c`, or masked out.
                        *sum = unsafe { _mm256_maskload_ps(at, mask) };
                    }
                }
            }
            for (depth, columns) in self.strip.iter().enumerate().take(self.depth) {
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let factor = _mm256_broadcast_ss(&row[depth]);
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = _mm256_fmadd_ps(factor, *column, *sum);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for (idx, (sum, mask)) in sums.iter().zip(self.masks).enumerate() {
                    let at = c.as_mut_ptr().wrapping_add(row * self.ldc + 8 * idx);
                    // SAFETY: within `c`, or masked out. (Masked stores are slow on many CPUs.)
                    unsafe {
                        if self.width == COLUMNS {
                            _mm256_storeu_ps(at, *sum);
                        } else {
                            _mm256_maskstore_ps(at, mask, *sum);
                        }
                    }
                }
            }
        }
    }

    /// The lanes of each vector that are within `width`.
    #[target_feature(enable = "avx2")]
    fn masks(width: usize) -> [__m256i; VECTORS] {
        std::array::from_fn(|idx| {
            let lanes: [i32; 8] =
                std::array::from_fn(|lane| if 8 * idx + lane < width { -1 } else { 0 });
            // SAFETY: an array of eight i32 is what a register holds.
            unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
        })
    }
}
