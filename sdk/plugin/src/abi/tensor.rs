//! Tensors on their way across: DLPack structures, checked again on arrival.

use abi_stable::StableAbi;

use crate::{DLTensor, OwnedTensor, TensorError, TensorView};

/// A DLPack tensor whose shape, strides and elements live for `'a`.
#[repr(transparent)]
#[derive(StableAbi)]
pub struct ViewTwin<'a> {
    // DLPack's layout is a standard of its own.
    #[sabi(unsafe_opaque_field)]
    tensor: DLTensor,
    borrowed: std::marker::PhantomData<&'a u8>,
}

impl<'a> ViewTwin<'a> {
    /// Points into `view`.
    pub(super) fn new(view: &'a TensorView<'_>) -> Self {
        ViewTwin {
            tensor: view.to_dlpack(),
            borrowed: std::marker::PhantomData,
        }
    }

    pub(super) fn view(&self) -> Result<TensorView<'a>, TensorError> {
        // SAFETY: made by `new` on the other side from a view that is borrowed for 'a.
        unsafe { TensorView::from_dlpack(&self.tensor) }
    }
}

/// An owned DLPack tensor.
#[repr(transparent)]
#[derive(StableAbi)]
pub struct OwnedTwin {
    // One pointer to a DLPack managed tensor.
    #[sabi(unsafe_opaque_field)]
    tensor: OwnedTensor,
}

impl From<OwnedTensor> for OwnedTwin {
    fn from(tensor: OwnedTensor) -> Self {
        OwnedTwin { tensor }
    }
}

impl OwnedTwin {
    pub(super) fn into_tensor(self) -> Result<OwnedTensor, TensorError> {
        // SAFETY: made from an owned tensor on the other side, and given up by `self`.
        unsafe { OwnedTensor::from_dlpack(self.tensor.into_dlpack()) }
    }
}
