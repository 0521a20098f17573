//! The storage behind a tensor, and who else holds it.

use std::ffi::c_void;

use tch::Tensor;

/// Whether a tensor is the only way to its elements: there is no clone, alias or view of it.
pub fn is_sole(tensor: &Tensor) -> bool {
    // SAFETY: a tensor of libtorch, alive during the call.
    unsafe { evopress_is_sole(tensor.as_ptr().cast()) != 0 }
}

/// Drops a tensor over memory that somebody else owns. Aliases that stay get a copy of the memory,
/// so that they do not dangle.
pub(crate) fn settle(tensor: Tensor) {
    // SAFETY: a tensor of libtorch, which has a storage because it was made from memory. The
    // reference to the storage is given up once, after the tensor, while the memory is still there.
    unsafe {
        let storage = evopress_storage(tensor.as_ptr().cast());
        drop(tensor);
        evopress_settle_storage(storage);
    }
}

unsafe extern "C" {
    fn evopress_storage(tensor: *const c_void) -> *mut c_void;
    fn evopress_settle_storage(reference: *mut c_void) -> i32;
    fn evopress_is_sole(tensor: *const c_void) -> i32;
}
