//! Element types and devices that evopressd knows.

use std::fmt;

use super::{DLDataType, DLDevice, TensorError};

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// IEEE 16-bit float.
    F16,
    /// bfloat16.
    Bf16,
    /// Signed 64-bit integer.
    I64,
    /// Byte.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::I64 => 8,
            DType::U8 => 1,
        }
    }

    /// DLPack's name for it.
    pub fn to_dlpack(self) -> DLDataType {
        let (code, bits) = match self {
            DType::F32 => (2, 32),
            DType::F16 => (2, 16),
            DType::Bf16 => (4, 16),
            DType::I64 => (0, 64),
            DType::U8 => (1, 8),
        };
        DLDataType {
            code,
            bits,
            lanes: 1,
        }
    }

    /// The dtype that DLPack names so.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn from_dlpack(dtype: DLDataType) -> Result<Self, TensorError> {
        Ok(match (dtype.code, dtype.bits, dtype.lanes) {
            (2, 32, 1) => DType::F32,
            (2, 16, 1) => DType::F16,
            (4, 16, 1) => DType::Bf16,
            (0, 64, 1) => DType::I64,
            (1, 8, 1) => DType::U8,
            (code, bits, lanes) => return Err(TensorError::UnsupportedDType { code, bits, lanes }),
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::I64 => "i64",
            DType::U8 => "u8",
        })
    }
}

/// Where a tensor's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// Main memory.
    Cpu,
    /// The CUDA device of this index.
    Cuda(i32),
}

impl Device {
    /// DLPack's name for it.
    pub fn to_dlpack(self) -> DLDevice {
        match self {
            Device::Cpu => DLDevice {
                device_type: 1,
                device_id: 0,
            },
            Device::Cuda(device_id) => DLDevice {
                device_type: 2,
                device_id,
            },
        }
    }

    /// The device that DLPack names so.
    ///
    /// # Errors
    /// When it is neither the CPU nor CUDA.
    pub fn from_dlpack(device: DLDevice) -> Result<Self, TensorError> {
        match device.device_type {
            1 => Ok(Device::Cpu),
            2 => Ok(Device::Cuda(device.device_id)),
            device_type => Err(TensorError::UnsupportedDevice { device_type }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("the CPU"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// A Rust type that is the element of a [`DType`].
///
/// # Safety
/// The type has the size and alignment of `DTYPE` and every bit pattern is a value.
pub unsafe trait Element: Copy + Send + Sync + 'static {
    /// The dtype.
    const DTYPE: DType;
}

// SAFETY: 32-bit IEEE floats, every bit pattern is valid.
unsafe impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
// SAFETY: transparent over u16.
unsafe impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}
// SAFETY: transparent over u16.
unsafe impl Element for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}
// SAFETY: 64-bit integers, every bit pattern is valid.
unsafe impl Element for i64 {
    const DTYPE: DType = DType::I64;
}
// SAFETY: bytes.
unsafe impl Element for u8 {
    const DTYPE: DType = DType::U8;
}
