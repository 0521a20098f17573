//! Tensors that every compute thread may read.

use std::sync::Arc;

use tch::Tensor;

use crate::linear::Weight;
use crate::packed::PackedWeight;

/// What consists of tensors and plain numbers, and is not changed through a shared reference by any
/// of its methods.
///
/// # Safety
/// An implementation promises just that: threads that hold `&Self` at the same time only read.
pub unsafe trait Shareable: Send {}

// SAFETY: operators that change a tensor in place take it by `&mut`, and libtorch's reference counts are atomic.
unsafe impl Shareable for Tensor {}
// SAFETY: tensors that are never written after they were made, and numbers.
unsafe impl Shareable for PackedWeight {}
// SAFETY: a tensor or a packed weight.
unsafe impl Shareable for Weight {}
// SAFETY: a number has no memory behind it.
unsafe impl Shareable for f32 {}
// SAFETY: what a vector holds is shared as its elements are.
unsafe impl<T: Shareable> Shareable for Vec<T> {}
// SAFETY: an option's content is shared as it is alone.
unsafe impl<T: Shareable> Shareable for Option<T> {}
// SAFETY: a pair is shared as its two parts are.
unsafe impl<A: Shareable, B: Shareable> Shareable for (A, B) {}

/// A handle to something made of tensors that all threads read, and nobody writes to.
pub struct ReadOnly<T>(Arc<Inner<T>>);

struct Inner<T>(T);

// SAFETY: only `&T` comes out, and `Shareable` promises that threads which hold it only read.
unsafe impl<T: Shareable> Sync for Inner<T> {}

impl<T: Shareable> ReadOnly<T> {
    /// Shares what was just made.
    pub fn new(content: T) -> Self {
        Self(Arc::new(Inner(content)))
    }

    /// Another handle to the content.
    #[must_use]
    pub fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// The content.
    pub fn get(&self) -> &T {
        &self.0.0
    }
}
