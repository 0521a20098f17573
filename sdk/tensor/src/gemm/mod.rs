//! Products of bf16 matrices with f32 output on the CPU, which libtorch has no operator for.
//!
//! In go slices of bf16, the right one packed in pairs of rows ([`pack_transposed`]); out come f32
//! sums. [`Backend`] says which code multiplies; all back ends compute the same sums up to their
//! order.

mod backend;
mod bf16_units;
mod pack;
mod portable;
mod product;
mod shape;
mod widening;

pub use backend::Backend;
pub(crate) use pack::{pack_transposed, widen_transposed};
pub(crate) use product::{Session, multiply};
pub(crate) use shape::Shape;
