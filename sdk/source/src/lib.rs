//! Models on disk: Hugging Face folders and GGUF files behind one type.
//!
//! In goes a path. Out come a [`ModelSpec`], tensors under Hugging Face's names and in its layout,
//! and a tokenizer, whatever the format was. Files are memory-mapped. Every tensor that the model
//! must have is checked for presence, type, shape and extent when the model is opened, so that a
//! broken file is a sentence then and not a fault in the middle of a run.
//!
//! ```text
//! folder, gguf (files) ──▶ families (configuration ──▶ spec) ──▶ Source
//! ```

mod bos;
mod corpus;
mod delivered;
mod dequantize;
mod error;
mod extra_tensors;
mod families;
mod finite;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod folder;
pub mod gguf;
mod hf_files;
mod in_gguf;
mod mapped_file;
mod numbers;
mod on_threads;
mod overlap;
mod reduced;
mod source;
pub mod spec;
mod tensor;
mod tokenizer;

pub use bos::BosRule;
pub use corpus::Corpus;
pub use delivered::Delivered;
pub use error::SourceError;
pub use families::supported_models;
pub use finite::NUMBERS_CHECK;
pub use folder::nemotron_nas;
pub use hf_files::HfFiles;
pub use mapped_file::MappedFile;
pub use source::Source;
pub use spec::{ModelSpec, Rope, RopeScaling};
pub use tensor::StoredTensor;
pub use tokenizer::encode;
pub use tokenizers::Tokenizer;
