//! Numbers of CPU tensors as slices.
//!
//! A `Tensor` is one of any number of handles to the same memory, so a mutable slice of it would be
//! one of several. New memory is therefore a [`Buffer`], which has no other handle until it becomes
//! a tensor; a tensor that exists is written to only where libtorch says that nobody else holds its
//! memory ([`exclusive`]).

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use half::bf16;
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::simd::Element;

/// A number type that a CPU tensor can be viewed as.
pub trait Stored: Element {
    /// libtorch's name of the type.
    const KIND: Kind;
}

impl Stored for f32 {
    const KIND: Kind = Kind::Float;
}

impl Stored for bf16 {
    const KIND: Kind = Kind::BFloat16;
}

/// Memory of a CPU tensor that has no other handle, aligned to cache lines; a slice of its numbers,
/// row by row.
#[derive(Debug)]
pub struct Buffer<E> {
    tensor: Tensor,
    number: PhantomData<E>,
}

impl<E: Stored> Buffer<E> {
    /// Memory for a tensor of `size`; the numbers are whatever was there before.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(size: &[i64]) -> Result<Self> {
        Ok(Self::of(Tensor::f_empty(size, (E::KIND, Device::Cpu))?))
    }

    /// Memory for a tensor of `size`, all zeros.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn zeros(size: &[i64]) -> Result<Self> {
        Ok(Self::of(Tensor::f_zeros(size, (E::KIND, Device::Cpu))?))
    }

    /// The numbers of a tensor: its own memory where nobody else holds it, else a copy.
    ///
    /// # Errors
    /// When there is no memory for a copy.
    pub fn from_tensor(tensor: Tensor) -> Result<Self> {
        let is_right = tensor.kind() == E::KIND && tensor.device() == Device::Cpu;
        if is_right && tensor.is_contiguous() && evopress_plugin_tch::is_sole(&tensor) {
            return Ok(Self::of(tensor));
        }
        let copy = tensor.f_to_device(Device::Cpu)?.f_to_kind(E::KIND)?;
        let copy = copy.f_contiguous()?.f_detach_copy()?;
        Ok(Self::of(copy))
    }

    /// The memory as a tensor.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// Wraps memory that has just been made.
    fn of(tensor: Tensor) -> Self {
        check_layout::<E>(&tensor);
        Self {
            tensor,
            number: PhantomData,
        }
    }
}

impl<E: Stored> Deref for Buffer<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        slice(&self.tensor)
    }
}

impl<E: Stored> DerefMut for Buffer<E> {
    fn deref_mut(&mut self) -> &mut [E] {
        // SAFETY: a contiguous CPU tensor of this dtype holds `numel` such numbers, which are valid whatever their bits. The
        // tensor is private and was the only handle to its memory when it came here, so the mutable borrow of `self` is the
        // only way to the memory.
        unsafe {
            std::slice::from_raw_parts_mut(self.tensor.data_ptr().cast(), self.tensor.numel())
        }
    }
}

// SAFETY: without `&mut self` the memory is only read, and no handle to it leaves; libtorch's reference counts are atomic.
unsafe impl<E: Stored> Sync for Buffer<E> {}

/// The numbers of a contiguous CPU tensor, row by row. Nothing inside this crate writes to a tensor
/// that it reads.
///
/// # Panics
/// For another dtype, layout or device.
pub(crate) fn slice<E: Stored>(tensor: &Tensor) -> &[E] {
    check_layout::<E>(tensor);
    // SAFETY: a contiguous CPU tensor of this dtype holds `numel` such numbers; the borrow keeps it alive.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// The numbers of a contiguous CPU tensor that nobody else has a handle to, to change them in
/// place.
///
/// # Panics
/// For another dtype, layout or device, or where another tensor shares the memory.
pub(crate) fn exclusive<E: Stored>(tensor: &mut Tensor) -> &mut [E] {
    check_layout::<E>(tensor);
    assert!(
        evopress_plugin_tch::is_sole(tensor),
        "a CPU kernel was asked to change memory that another tensor shares"
    );
    // SAFETY: as in `slice`; exclusive because this is the only handle, and it is borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

fn check_layout<E: Stored>(tensor: &Tensor) {
    assert!(
        tensor.kind() == E::KIND && tensor.is_contiguous() && tensor.device() == Device::Cpu,
        "a CPU kernel was given a {:?} tensor on {:?}",
        tensor.kind(),
        tensor.device()
    );
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_buffer_keeps_its_memory_to_itself() {
        let tensor = Tensor::from_slice(&[1_f32, 2.0]);
        let (address, handle) = (tensor.data_ptr(), tensor.shallow_clone());
        let mut copied = Buffer::<f32>::from_tensor(tensor).unwrap();
        copied[0] = 9.0;
        assert_eq!(slice::<f32>(&handle), [1.0, 2.0]);
        let adopted = Buffer::<f32>::from_tensor(handle).unwrap();
        assert_eq!(adopted.into_tensor().data_ptr(), address);
    }

    #[test]
    fn shared_memory_is_never_changed_in_place() {
        let mut tensor = Tensor::from_slice(&[1_f32, 2.0, 3.0]);
        exclusive::<f32>(&mut tensor)[0] = 5.0;
        assert_eq!(slice::<f32>(&tensor), [5.0, 2.0, 3.0]);
        for mut alias in [tensor.shallow_clone(), tensor.narrow(0, 1, 2)] {
            let change = AssertUnwindSafe(|| exclusive::<f32>(&mut alias)[0] = 0.0);
            assert!(catch_unwind(change).is_err());
        }
        assert_eq!(slice::<f32>(&tensor), [5.0, 2.0, 3.0]);
    }
}
