//! Tensors that cross the boundary: DLPack's structures behind a borrowed [`TensorView`] and an
//! owning [`OwnedTensor`].
//!
//! DLPack carries a pointer, dtype, shape, strides, device and, for owned tensors, a deleter, so
//! nothing is copied and neither side has to know the other's tensor library. A dtype, rank or
//! layout that is not supported is an error, never undefined behaviour.

mod dlpack;
mod dtype;
mod owned;
#[cfg(test)]
mod tests;
mod view;

pub use dlpack::{DLDataType, DLDevice, DLManagedTensor, DLTensor};
pub use dtype::{DType, Device, Element};
pub use owned::OwnedTensor;
pub use view::{MAX_RANK, TensorView};

/// Why a tensor could not be taken or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// A dtype that is not one of [`DType`].
    #[error(
        "unsupported dtype: DLPack code {code}, {bits} bits, {lanes} lanes; allowed are f32, f16, bf16, i64 and u8"
    )]
    UnsupportedDType {
        /// DLPack's type code.
        code: u8,
        /// Bits of a lane.
        bits: u8,
        /// Lanes of an element.
        lanes: u16,
    },
    /// A device that is neither the CPU nor CUDA.
    #[error("unsupported device: DLPack type {device_type}; allowed are the CPU (1) and CUDA (2)")]
    UnsupportedDevice {
        /// DLPack's device type.
        device_type: i32,
    },
    /// More dimensions than [`MAX_RANK`], or a negative number of them.
    #[error("a tensor has {rank} dimensions; at most {MAX_RANK} are supported")]
    Rank {
        /// The number found.
        rank: i64,
    },
    /// A negative dimension or a shape that overflows.
    #[error("a shape of {shape:?} is not possible")]
    Shape {
        /// The shape found.
        shape: Vec<i64>,
    },
    /// Dimensions whose sizes or strides are missing.
    #[error("a tensor of {rank} dimensions comes with {found} {what}")]
    Dims {
        /// Number of dimensions.
        rank: usize,
        /// Sizes or strides found.
        found: usize,
        /// `sizes` or `strides`.
        what: &'static str,
    },
    /// A null pointer where there are elements, or a misaligned one.
    #[error("the data pointer of a tensor of shape {shape:?} is null or not aligned for {dtype}")]
    Pointer {
        /// The tensor's shape.
        shape: Vec<i64>,
        /// The tensor's dtype.
        dtype: DType,
    },
    /// Shape and number of elements disagree.
    #[error("a shape of {shape:?} needs {expected} elements, found {found}")]
    Length {
        /// The shape asked for.
        shape: Vec<i64>,
        /// Elements that it needs.
        expected: usize,
        /// Elements that are there.
        found: usize,
    },
    /// Another dtype than asked for.
    #[error("expected a tensor of {expected}, found {found}")]
    DType {
        /// What was asked for.
        expected: DType,
        /// What is there.
        found: DType,
    },
    /// The elements are on a device whose memory this code cannot read.
    #[error("the tensor is on {device}; this needs it on the CPU")]
    NotOnCpu {
        /// Where it is.
        device: Device,
    },
    /// The elements are not one after another.
    #[error("the tensor of shape {shape:?} and strides {strides:?} is not contiguous")]
    NotContiguous {
        /// The tensor's shape.
        shape: Vec<i64>,
        /// The tensor's strides, in elements.
        strides: Vec<i64>,
    },
    /// A range of rows that is not there.
    #[error("rows {start}..{end} of a tensor of shape {shape:?}")]
    Rows {
        /// First row.
        start: usize,
        /// One past the last row.
        end: usize,
        /// The tensor's shape.
        shape: Vec<i64>,
    },
    /// A shape other than the one asked for.
    #[error("expected a tensor of shape {expected}, found {found:?}")]
    WrongShape {
        /// What was asked for, with names for free dimensions.
        expected: String,
        /// What is there.
        found: Vec<i64>,
    },
}
