//! Views as tensors of the `tch` crate and back, without copies.
//!
//! A tensor made from borrowed memory must not outlive it, and `tch` clones and aliases tensors freely (`to_kind` to the kind that it
//! has is such an alias). [`Borrowed`] is therefore tied to the view's lifetime, and aliases that are still around when it goes get a
//! copy of the memory, so that they never dangle.
//!
//! CUDA tensors are handed over on PyTorch's current stream, which both sides share as they share libtorch. Code that reads the
//! memory by other means has to synchronize first.

use std::{ffi::c_void, fmt, mem::ManuallyDrop, ops::Deref};

use tch::{Kind, Tensor};

use evopress_plugin::{DType, Device, OwnedTensor, PluginError, TensorView};

#[cfg(test)]
mod tests;

/// A tensor as a view.
///
/// # Errors
/// When its kind, device or layout has no DLPack counterpart here.
pub fn view(tensor: &Tensor) -> Result<TensorView<'_>, PluginError> {
    let parts = Parts::of(tensor)?;
    // SAFETY: `tensor` is borrowed for the view's lifetime and keeps its storage alive.
    let view = unsafe {
        TensorView::from_raw_parts(
            parts.data,
            parts.dtype,
            parts.device,
            &parts.shape,
            Some(&parts.strides),
        )
    };
    Ok(view?)
}

/// A tensor as an owned one: the deleter drops it. Its other aliases must not be written to any more.
///
/// # Errors
/// When its kind, device or layout has no DLPack counterpart here.
pub fn into_owned(tensor: Tensor) -> Result<OwnedTensor, PluginError> {
    let parts = Parts::of(&tensor)?;
    // SAFETY: `tensor` moves into the owned one and keeps its storage alive; tensors may be dropped on any thread.
    let owned = unsafe {
        OwnedTensor::from_keeper(
            tensor,
            parts.data,
            parts.dtype,
            parts.device,
            &parts.shape,
            Some(&parts.strides),
        )
    };
    Ok(owned?)
}

/// A view as a tensor, for as long as the view's memory is there.
///
/// # Errors
/// When libtorch does not take the strides or the device.
pub fn borrow<'a>(view: &TensorView<'a>) -> Result<Borrowed<'a>, PluginError> {
    let kind = kind_of(view.dtype());
    let device = match view.device() {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda(index) => tch::Device::Cuda(
            usize::try_from(index)
                .map_err(|_| PluginError::new(format!("there is no device cuda:{index}")))?,
        ),
    };
    // SAFETY: the view vouches for the memory during 'a, which bounds `Borrowed`; its Drop sees to aliases that stay longer.
    let tensor = unsafe {
        Tensor::f_from_blob(
            view.data().cast(),
            view.shape(),
            view.strides(),
            kind,
            device,
        )
    };
    Ok(Borrowed {
        tensor: ManuallyDrop::new(tensor.map_err(|error| to_plugin_error(&error))?),
        view: *view,
    })
}

/// A [`Tensor`] over memory that is borrowed for `'a`.
///
/// Aliases of it (`shallow_clone`, `narrow`, …) may be kept: when this guard goes they get their own copy of the memory. Do not
/// compute with them on another thread at that moment.
pub struct Borrowed<'a> {
    tensor: ManuallyDrop<Tensor>,
    view: TensorView<'a>,
}

impl Deref for Borrowed<'_> {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl fmt::Debug for Borrowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Borrowed").field(&self.view).finish()
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        // SAFETY: a tensor of libtorch, which has a storage because it was made from memory; then dropped once and never used again.
        // What is left is the storage, which is settled while the memory is still there.
        unsafe {
            let storage = evopress_storage(self.tensor.as_ptr().cast());
            ManuallyDrop::drop(&mut self.tensor);
            evopress_settle_storage(storage);
        }
    }
}

unsafe extern "C" {
    fn evopress_storage(tensor: *const c_void) -> *mut c_void;
    fn evopress_settle_storage(reference: *mut c_void) -> i32;
}

struct Parts {
    data: *const c_void,
    dtype: DType,
    device: Device,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

impl Parts {
    fn of(tensor: &Tensor) -> Result<Self, PluginError> {
        if !tensor.defined() || tensor.is_sparse() || tensor.is_mkldnn() {
            return Err("a sparse, MKL-DNN or undefined tensor has no elements in memory that can be handed over".into());
        }
        let kind = tensor.f_kind().map_err(|error| to_plugin_error(&error))?;
        let device = match tensor.device() {
            tch::Device::Cpu => Device::Cpu,
            tch::Device::Cuda(index) => Device::Cuda(index as i32),
            other => {
                return Err(format!("a tensor on {other:?}; allowed are the CPU and CUDA").into());
            }
        };
        Ok(Parts {
            data: tensor.data_ptr(),
            dtype: dtype_of(kind)?,
            device,
            shape: tensor.size(),
            strides: tensor.stride(),
        })
    }
}

fn kind_of(dtype: DType) -> Kind {
    match dtype {
        DType::F32 => Kind::Float,
        DType::F16 => Kind::Half,
        DType::Bf16 => Kind::BFloat16,
        DType::I64 => Kind::Int64,
        DType::U8 => Kind::Uint8,
    }
}

fn dtype_of(kind: Kind) -> Result<DType, PluginError> {
    Ok(match kind {
        Kind::Float => DType::F32,
        Kind::Half => DType::F16,
        Kind::BFloat16 => DType::Bf16,
        Kind::Int64 => DType::I64,
        Kind::Uint8 => DType::U8,
        other => {
            return Err(format!(
                "a tensor of {other:?}; allowed are Float, Half, BFloat16, Int64 and Uint8"
            )
            .into());
        }
    })
}

/// A failure of libtorch as a plugin's: the first line of its message; what follows is a C++ backtrace.
pub fn to_plugin_error(error: &tch::TchError) -> PluginError {
    let text = error.to_string();
    PluginError::new(text.lines().next().unwrap_or_default())
}
