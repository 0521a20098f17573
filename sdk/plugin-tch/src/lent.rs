//! Views as tensors, for the length of a closure.

use std::mem::ManuallyDrop;

use evopress_plugin::{Device, PluginError, TensorView};
use tch::Tensor;

use crate::kinds::{kind_of, to_plugin_error};
use crate::storage::settle;

/// Lends the view's memory to `work` as a tensor, and returns what `work` returns.
///
/// `work` may hand out aliases of the tensor (`shallow_clone`, `narrow`, …): when it returns they
/// get their own copy of the memory. No other thread may compute with them at that moment.
///
/// # Errors
/// When libtorch does not take the strides or the device.
///
/// # Panics
/// When somebody has written to the tensor.
pub fn with_tensor<R>(
    view: &TensorView<'_>,
    work: impl FnOnce(&Tensor) -> R,
) -> Result<R, PluginError> {
    let device = match view.device() {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda(index) => tch::Device::Cuda(
            usize::try_from(index)
                .map_err(|_| PluginError::new(format!("there is no device cuda:{index}")))?,
        ),
    };
    // SAFETY: the view vouches for the memory while it is borrowed, which is until this function
    // returns or unwinds. `Lent` is dropped before that and sees to aliases that stay.
    let tensor = unsafe {
        Tensor::f_from_blob(
            view.data().cast(),
            view.shape(),
            view.strides(),
            kind_of(view.dtype()),
            device,
        )
    };
    let lent = Lent(ManuallyDrop::new(
        tensor.map_err(|error| to_plugin_error(&error))?,
    ));
    let made = lent.0.internal_version();
    let result = work(&lent.0);
    assert_eq!(
        made,
        lent.0.internal_version(),
        "a tensor over borrowed memory was written to"
    );
    Ok(result)
}

/// A tensor over borrowed memory. It does not leave [`with_tensor`], so that it is always dropped.
struct Lent(ManuallyDrop<Tensor>);

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: taken once, here.
        settle(unsafe { ManuallyDrop::take(&mut self.0) });
    }
}
