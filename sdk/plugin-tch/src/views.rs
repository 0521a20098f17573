//! Tensors as views and as owned tensors.

use std::ffi::c_void;

use evopress_plugin::{DType, Device, OwnedTensor, PluginError, TensorView};
use tch::Tensor;

use crate::kinds::{dtype_of, to_plugin_error};
use crate::storage::is_sole;

/// A tensor as a view. Nobody may write to the tensor, through any of its aliases, while the view
/// is in use.
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

/// A tensor as an owned one. A tensor that has aliases is copied, so that nobody else can write to
/// what the receiver holds.
///
/// # Errors
/// When its kind, device or layout has no DLPack counterpart here.
pub fn into_owned(tensor: Tensor) -> Result<OwnedTensor, PluginError> {
    let tensor = match tensor.defined() && !is_sole(&tensor) {
        true => tensor
            .f_detach_copy()
            .map_err(|error| to_plugin_error(&error))?,
        false => tensor,
    };
    let parts = Parts::of(&tensor)?;
    // SAFETY: `tensor` moves into the owned one and keeps its storage alive, which has no other
    // owner. Tensors may be dropped on any thread.
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
