//! DLPack 0.8's structures, as `dlpack.h` lays them out.

use std::ffi::c_void;

/// Where memory is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DLDevice {
    /// 1 for the CPU, 2 for CUDA.
    pub device_type: i32,
    /// Index among the devices of this type.
    pub device_id: i32,
}

/// Type of an element.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DLDataType {
    /// 0 signed integer, 1 unsigned integer, 2 IEEE float, 4 bfloat.
    pub code: u8,
    /// Bits of one lane.
    pub bits: u8,
    /// Lanes of one element; 1 for scalars.
    pub lanes: u16,
}

/// A tensor without ownership.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DLTensor {
    /// Start of the allocation.
    pub data: *mut c_void,
    /// Where `data` is.
    pub device: DLDevice,
    /// Number of dimensions.
    pub ndim: i32,
    /// Type of an element.
    pub dtype: DLDataType,
    /// `ndim` sizes.
    pub shape: *mut i64,
    /// `ndim` strides in elements, or null for a contiguous tensor.
    pub strides: *mut i64,
    /// Offset in bytes from `data` to the first element.
    pub byte_offset: u64,
}

/// A tensor with ownership: whoever holds it calls `deleter` once.
#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensor {
    /// The tensor.
    pub dl_tensor: DLTensor,
    /// The deleter's own data.
    pub manager_ctx: *mut c_void,
    /// Frees everything, `self` included. None when there is nothing to free.
    pub deleter: Option<unsafe extern "C" fn(*mut DLManagedTensor)>,
}
