//! Which device a run uses, and how the process is set up for it.

use tch::{Cuda, Device, Kind};

use crate::error::{EngineError, Result};

/// Resolves `auto`, `cpu`, `cuda` or `cuda:N`; loads libtorch's CUDA library first where a GPU may be meant.
///
/// # Errors
/// A GPU that is asked for by name and not there.
pub fn resolve(requested: &str) -> Result<Device> {
    let unavailable = |reason: String| EngineError::Device {
        requested: requested.to_owned(),
        reason,
    };
    let wanted = match requested {
        "cpu" => return Ok(Device::Cpu),
        "auto" | "cuda" => 0,
        other => other
            .strip_prefix("cuda:")
            .and_then(|index| index.parse::<usize>().ok())
            .ok_or_else(|| unavailable("expected auto, cpu, cuda or cuda:N".into()))?,
    };
    let loaded = load_cuda_library();
    let count = if loaded.is_ok() {
        Cuda::device_count()
    } else {
        0
    };
    if (count.max(0) as usize) > wanted && Cuda::is_available() {
        return Ok(Device::Cuda(wanted));
    }
    match (requested, loaded) {
        ("auto", _) => Ok(Device::Cpu),
        (_, Err(reason)) => Err(unavailable(reason)),
        (_, Ok(())) => Err(unavailable(format!("libtorch sees {count} GPUs"))),
    }
}

/// A dtype by its name in a spec.
pub fn kind(dtype: &str) -> Result<Kind> {
    match dtype {
        "bf16" => Ok(Kind::BFloat16),
        "f32" => Ok(Kind::Float),
        other => Err(EngineError::Device {
            requested: other.into(),
            reason: "expected the dtype bf16 or f32".into(),
        }),
    }
}

/// Keeps large blocks in the heap: with glibc's defaults the kernel zeroes pages for 40 % of a small model's CPU time.
/// Call before any thread starts.
pub fn tune_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` only changes parameters of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// The program is linked against the CPU library alone; where the CUDA one lies beside it, it registers itself on loading.
fn load_cuda_library() -> Result<(), String> {
    static LOADED: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    LOADED
        .get_or_init(|| {
            // SAFETY: a string literal ends in NUL; libtorch_cuda's initialisers only register kernels.
            let handle = unsafe {
                libc::dlopen(
                    c"libtorch_cuda.so".as_ptr(),
                    libc::RTLD_NOW | libc::RTLD_GLOBAL,
                )
            };
            if handle.is_null() {
                Err("libtorch_cuda.so is not on the library path".into())
            } else {
                Ok(())
            }
        })
        .clone()
}
