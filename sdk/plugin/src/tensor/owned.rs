//! A tensor that its holder owns: DLPack's managed tensor, freed by its maker's deleter.

use std::{ffi::c_void, fmt, ptr::NonNull};

use super::{DLManagedTensor, Device, Element, TensorError, TensorView, view::num_elements};

/// A tensor with ownership. Whoever made it also frees it, through the deleter, so it may cross the
/// boundary.
#[repr(transparent)]
pub struct OwnedTensor {
    managed: NonNull<DLManagedTensor>,
}

// SAFETY: the memory is plain numbers, owned, and DLPack's deleters may run on any thread.
unsafe impl Send for OwnedTensor {}
// SAFETY: only shared reads are possible through `&OwnedTensor`.
unsafe impl Sync for OwnedTensor {}

impl OwnedTensor {
    /// Takes a vector as a contiguous tensor in main memory, without a copy.
    ///
    /// # Errors
    /// When the shape does not hold as many elements as the vector.
    pub fn from_vec<T: Element>(elements: Vec<T>, shape: &[i64]) -> Result<Self, TensorError> {
        let expected = num_elements(shape)?;
        if expected != elements.len() {
            return Err(TensorError::Length {
                shape: shape.to_vec(),
                expected,
                found: elements.len(),
            });
        }
        let data = elements.as_ptr().cast::<c_void>();
        // SAFETY: the vector is moved into the tensor and keeps its heap memory until the deleter
        // runs.
        unsafe { Self::from_keeper(elements, data, T::DTYPE, Device::Cpu, shape, None) }
    }

    /// A tensor at `data` that `keeper` keeps alive: the deleter drops the keeper.
    ///
    /// # Safety
    /// As [`TensorView::from_raw_parts`], for as long as `keeper` lives. Moving the keeper does not
    /// invalidate `data`, so it is not a `Box` or a `&mut` of the elements. It may be used from any
    /// thread and dropped on any.
    ///
    /// # Errors
    /// When the shape is impossible, or the pointer null or misaligned.
    pub unsafe fn from_keeper<K: 'static>(
        keeper: K,
        data: *const c_void,
        dtype: super::DType,
        device: Device,
        shape: &[i64],
        strides: Option<&[i64]>,
    ) -> Result<Self, TensorError> {
        // SAFETY: the caller's promise; the view moves into the same allocation as its keeper.
        let view =
            unsafe { TensorView::<'static>::from_raw_parts(data, dtype, device, shape, strides)? };
        let kept = NonNull::from(Box::leak(Box::new(Kept {
            managed: None,
            view,
            _keeper: keeper,
        })));
        // SAFETY: just allocated and not shared.
        let kept_mut = unsafe { &mut *kept.as_ptr() };
        // The tensor points at the shape inside the box, which does not move any more.
        let managed = kept_mut.managed.insert(DLManagedTensor {
            dl_tensor: kept_mut.view.to_dlpack(),
            manager_ctx: kept.as_ptr().cast(),
            deleter: Some(delete_kept::<K>),
        });
        Ok(OwnedTensor {
            managed: NonNull::from(managed),
        })
    }

    /// Takes over a DLPack tensor.
    ///
    /// # Safety
    /// `managed` is a valid managed tensor that the caller gives up. Nobody writes to it or to its
    /// elements from now on, and its deleter may be called on any thread.
    ///
    /// # Errors
    /// When dtype, device, rank or shape is not supported. The tensor is freed in this case too.
    pub unsafe fn from_dlpack(managed: NonNull<DLManagedTensor>) -> Result<Self, TensorError> {
        let tensor = OwnedTensor { managed };
        // SAFETY: the caller gives a valid tensor, which `tensor` keeps alive.
        unsafe { TensorView::from_dlpack(&managed.as_ref().dl_tensor)? };
        Ok(tensor)
    }

    /// Gives the DLPack tensor away. The receiver calls its deleter.
    pub fn into_dlpack(self) -> NonNull<DLManagedTensor> {
        let managed = self.managed;
        std::mem::forget(self);
        managed
    }

    /// The elements of a contiguous tensor on the CPU, row-major, little-endian.
    ///
    /// # Panics
    /// For another layout or device: the host has checked what plugins return.
    pub fn bytes(&self) -> &[u8] {
        let view = self.view();
        assert!(
            view.device() == Device::Cpu && view.is_contiguous(),
            "a tensor's bytes are read where it is contiguous and on the CPU"
        );
        let length = view.num_elements() * view.dtype().size_bytes();
        if length == 0 {
            return &[];
        }
        // SAFETY: a contiguous tensor on the CPU has so many initialised bytes, which `self` keeps alive and nobody writes to.
        unsafe { std::slice::from_raw_parts(view.data().cast(), length) }
    }

    /// A view of the elements.
    pub fn view(&self) -> TensorView<'_> {
        // SAFETY: `self` keeps shape and elements alive for the view's lifetime.
        let view = unsafe { TensorView::from_dlpack(&self.managed.as_ref().dl_tensor) };
        view.expect("checked when the tensor was made")
    }
}

impl Drop for OwnedTensor {
    fn drop(&mut self) {
        // SAFETY: valid until here, and freed only once because `self` is the only owner.
        unsafe {
            if let Some(deleter) = self.managed.as_ref().deleter {
                deleter(self.managed.as_ptr());
            }
        }
    }
}

impl fmt::Debug for OwnedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view();
        write!(
            f,
            "OwnedTensor({}{:?} on {})",
            view.dtype(),
            view.shape(),
            view.device()
        )
    }
}

struct Kept<K> {
    managed: Option<DLManagedTensor>,
    view: TensorView<'static>,
    _keeper: K,
}

/// Frees what [`OwnedTensor::from_keeper`] allocated.
///
/// # Safety
/// `managed` comes from there, with the same `K`, and is not used again.
unsafe extern "C" fn delete_kept<K>(managed: *mut DLManagedTensor) {
    // SAFETY: `manager_ctx` is the leaked box around `managed` itself.
    drop(unsafe { Box::from_raw((*managed).manager_ctx.cast::<Kept<K>>()) });
}
