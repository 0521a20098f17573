//! Views as tensors of the `tch` crate and back, without copies.
//!
//! - [`view`] shows a tensor's elements, [`into_owned`] gives a tensor away.
//! - [`with_tensor`] lends a tensor over memory that somebody else owns. A tensor may not outlive
//!   such memory, and `tch` clones and aliases tensors freely (`to_kind` to the kind that a tensor
//!   has is such an alias). So the tensor is lent to a closure, and aliases that are still around
//!   when it returns get a copy of the memory.
//! - [`Buffer`] is memory that tensor operations and plain Rust work on in turn.
//!
//! `tch` lets safe code write to a tensor through any of its aliases. Nobody may do so while a view
//! of it is in use, or to a tensor that is lent; the latter is noticed and panics.
//!
//! CUDA tensors are handed over on PyTorch's current stream, which both sides share as they share
//! libtorch. Code that reads the memory by other means has to synchronize first.

mod buffer;
mod kinds;
mod lent;
mod storage;
mod views;

#[cfg(test)]
mod tests;

pub use buffer::Buffer;
pub use kinds::to_plugin_error;
pub use lent::with_tensor;
pub use storage::is_sole;
pub use views::{into_owned, view};
