//! The ground floor: what every other crate of the project may use and none of them owns.
//!
//! - [`digest`]: SHA-256 of bytes, streams, files and folders, as lower-case hex.
//! - [`files`]: files and folders that a crash leaves either as they were or complete.
//! - [`text`] and [`json`]: files of text, and JSON as Python programs write it.
//! - [`memory`]: how much memory this process may take.
//! - [`model_files()`]: which files a model on disk consists of.
//! - [`split_names`]: which files are one GGUF model.
//! - [`time`]: moments as text and as seconds since 1970.

pub mod digest;
pub mod files;
pub mod json;
pub mod memory;
pub mod model_files;
pub mod split_names;
pub mod text;
pub mod time;

pub use digest::{Hasher, digest_bytes, digest_path, digest_reader};
pub use files::{AtomicFile, atomic_write};
pub use model_files::{digest_model, model_files};
pub use split_names::PartName;
