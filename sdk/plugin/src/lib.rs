//! What a plugin of evopressd is made of.
//!
//! A plugin is a shared library that offers a [`Method`] (which units of a model can be compressed,
//! to which levels, at which cost, and how) or a [`Fitness`] (how bad a compressed model is, token
//! by token). Authors write plain Rust against these traits and export it with [`export_plugin!`];
//! `examples/minimal-plugin` is a whole one to copy.
//!
//! - **The boundary.** Host and plugin may come from different compilers. Between them are
//!   ABI-stable twins of the traits, a version number that is compared first ([`ABI_VERSION`]), and
//!   a check of every type's layout.
//! - **Tensors** cross as DLPack: a pointer, dtype, shape, strides and device, without a copy
//!   ([`TensorView`], [`OwnedTensor`]). The crate `evopress-plugin-tch` makes them libtorch's
//!   tensors too.
//! - **Failures** are a [`PluginError`] with one sentence. A panic becomes one on the side where it
//!   happens.
//! - **Options** are described by a JSON Schema ([`Info::options_schema`]) that the host checks
//!   before it creates anything.
//!
//! Features: `host` finds and loads plugins, `conformance` checks a built plugin in its author's
//! tests. A plugin itself needs neither.

#[doc(hidden)]
pub mod abi;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod fitness;
mod ggml;
#[cfg(feature = "host")]
pub mod host;
mod info;
mod method;
mod packed;
mod tensor;

pub use abi::{ABI_VERSION, ABI_VERSION_SYMBOL};
pub use error::PluginError;
pub use fitness::{Chunk, Expectation, Fitness, HeadOps, Target, TargetView};
pub use ggml::{GgmlType, IQ4_VALUES};
pub use half;
pub use info::{Info, PluginKind};
pub use method::{
    BlockPart, CompressTask, Edit, GroupBudget, LayerOutline, LayerTask, Level, Method,
    ModelOutline, PackedWeight, Statistics, SubBlock, Unit, Variant, check_units,
};
pub use packed::{Decoder, Encoding, Part, pack_codes, pack_sparse, unpack_codes};
pub use tensor::{
    DLDataType, DLDevice, DLManagedTensor, DLTensor, DType, Device, Element, MAX_RANK, OwnedTensor,
    TensorError, TensorView,
};
