//! Products on the CPU's bf16 units, through the batch-reduce GEMM that libtorch carries (oneDNN's
//! micro-kernels: AMX or AVX512-BF16).
//!
//! `at::native::cpublas::brgemm` is an exported C++ function of plain pointers and integers, so it
//! is called by its mangled name. The pair tch/libtorch is pinned.

use half::bf16;

use super::shape::Shape;

#[link(name = "torch_cpu")]
unsafe extern "C" {
    #[link_name = "_ZN2at6native7cpublas6brgemmEllllllbPKN3c108BFloat16ES5_Pfb"]
    fn brgemm(
        m: i64,
        n: i64,
        k: i64,
        lda: i64,
        ldb: i64,
        ldc: i64,
        accumulate: bool,
        a: *const bf16,
        b: *const bf16,
        c: *mut f32,
        b_is_packed: bool,
    );
    #[link_name = "_ZN2at6native7cpublas14brgemm_releaseEb"]
    fn brgemm_release(b_is_packed: bool);
}

/// Whether this CPU has bf16 units (every CPU with AMX has AVX512-BF16 too) and oneDNN may use
/// them: told to use less than the CPU has, it would refuse with a C++ exception.
pub(super) fn is_available() -> bool {
    let is_limited = ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    has_bf16_units() && !is_limited
}

#[cfg(target_arch = "x86_64")]
fn has_bf16_units() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16_units() -> bool {
    false
}

/// `C (+)= A · B`; the caller has checked the extents.
#[inline]
pub(super) fn product(shape: &Shape, a: &[bf16], b: &[bf16], c: &mut [f32]) {
    // SAFETY: the caller has checked the extents; the function reads and writes only within them.
    unsafe {
        brgemm(
            shape.m as i64,
            shape.n as i64,
            shape.k as i64,
            shape.lda as i64,
            shape.ldb as i64,
            shape.ldc as i64,
            shape.accumulate,
            a.as_ptr(),
            b.as_ptr(),
            c.as_mut_ptr(),
            true,
        );
    }
}

/// Releases this thread's tile configuration.
pub(super) fn release() {
    // SAFETY: releases hardware state of this thread only, and does nothing where there is none.
    unsafe { brgemm_release(true) }
}
