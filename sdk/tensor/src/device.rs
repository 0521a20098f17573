//! Which device a run uses, and how the process is set up for it.

use tch::{Cuda, Device, Kind};

use crate::error::{Result, TensorError};

/// Resolves `auto`, `cpu`, `cuda` or `cuda:N`; loads libtorch's CUDA library first where a GPU may
/// be meant.
///
/// # Errors
/// A GPU that is asked for by name and not there.
pub fn resolve(requested: &str) -> Result<Device> {
    let unavailable = |reason: String| TensorError::Device {
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
        other => Err(TensorError::Device {
            requested: other.into(),
            reason: "expected the dtype bf16 or f32".into(),
        }),
    }
}

/// Memory of a GPU, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// What no process has.
    pub free: u64,
    /// What there is.
    pub total: u64,
}

/// The memory of a GPU; none on the CPU, or where the CUDA runtime does not say.
pub fn gpu_memory(device: Device) -> Option<GpuMemory> {
    type SetDevice = unsafe extern "C" fn(libc::c_int) -> libc::c_int;
    type MemGetInfo = unsafe extern "C" fn(*mut usize, *mut usize) -> libc::c_int;
    let Device::Cuda(index) = device else {
        return None;
    };
    let symbol = |name: &std::ffi::CStr| {
        // SAFETY: the name ends in NUL. libtorch's CPU library has loaded the CUDA runtime.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    };
    let (set_device, info) = (symbol(c"cudaSetDevice")?, symbol(c"cudaMemGetInfo")?);
    let (mut free, mut total) = (0, 0);
    // SAFETY: these are the runtime's functions of these names, whose signatures are part of its ABI. Every operator of libtorch sets its
    // own device.
    let failed = unsafe {
        let set_device = std::mem::transmute::<*mut libc::c_void, SetDevice>(set_device);
        let info = std::mem::transmute::<*mut libc::c_void, MemGetInfo>(info);
        set_device(index as libc::c_int) != 0 || info(&raw mut free, &raw mut total) != 0
    };
    (!failed).then_some(GpuMemory {
        free: free as u64,
        total: total as u64,
    })
}

/// The device that tests compute on: what `EVOPRESS_TEST_DEVICE` names, or the CPU.
///
/// # Panics
/// When that device is not there.
pub fn of_tests() -> Device {
    let requested = std::env::var("EVOPRESS_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    resolve(&requested).expect("the device that EVOPRESS_TEST_DEVICE names")
}

/// Keeps blocks in the heap that glibc's defaults would map anew each time: with these the kernel
/// zeroes pages for 40 % of a small model's CPU time. What is larger than the activations of small
/// models goes back to the system, since a heap of blocks of many sizes is half gaps. Call before
/// any thread starts.
pub fn tune_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` only changes parameters of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives what is free in the heap back to the system. [`tune_allocator`] keeps it there for work
/// that takes as much again; between two kinds of work it would only be in the way.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` takes the allocator's own locks, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The program is linked against the CPU library alone; where the CUDA one lies beside it, it
/// registers itself on loading.
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
