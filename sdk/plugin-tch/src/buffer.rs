//! Memory for tensor operations and plain Rust in turn.

use std::ops::{Deref, DerefMut};

use evopress_plugin::PluginError;
use tch::{Device, Kind, Tensor};

use crate::kinds::to_plugin_error;
use crate::storage::is_sole;

/// An f32 tensor in main memory whose elements can also be written as a slice.
#[derive(Debug)]
pub struct Buffer {
    tensor: Tensor,
}

impl Buffer {
    /// Zeros.
    ///
    /// # Errors
    /// When libtorch has not got the memory.
    pub fn zeros(shape: &[i64]) -> Result<Self, PluginError> {
        let tensor = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu));
        Ok(Self {
            tensor: tensor.map_err(|error| to_plugin_error(&error))?,
        })
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// When aliases of the tensor are still around, which could be written to meanwhile, or when it
    /// is no contiguous f32 tensor in main memory any more.
    pub fn as_mut_slice(&mut self) -> Result<&mut [f32], PluginError> {
        let kind = self
            .tensor
            .f_kind()
            .map_err(|error| to_plugin_error(&error))?;
        let is_plain = self.tensor.device() == Device::Cpu && self.tensor.is_contiguous();
        if kind != Kind::Float || !is_plain {
            return Err("a buffer is no contiguous f32 tensor on the CPU any more".into());
        }
        if !is_sole(&self.tensor) {
            return Err("a buffer has aliases while its elements are written".into());
        }
        let num_elements = self.tensor.numel();
        if num_elements == 0 {
            return Ok(&mut []);
        }
        // SAFETY: as many f32 in a row, initialised, and reachable through `self` alone, all just
        // checked. `self` is borrowed mutably for the lifetime of the slice, so that no alias can
        // be made meanwhile.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.tensor.data_ptr().cast(), num_elements) })
    }
}

impl Deref for Buffer {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Tensor {
        &mut self.tensor
    }
}
