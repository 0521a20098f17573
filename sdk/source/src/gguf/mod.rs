//! GGUF files, versions 2 and 3.

mod deci;
mod entries;
mod file;
mod from_spec;
mod metadata;
pub mod names;
mod parse;
mod part;
mod split;
mod tokenizer;
mod types;
mod value;

pub use deci::ARCHITECTURE as DECI;
pub use entries::{Entries, push_string};
pub(crate) use file::GgufFile;
pub(crate) use from_spec::entries as entries_of_spec;
pub(crate) use from_spec::tokenizer_of;
pub(crate) use metadata::Metadata;
pub use names::ROPE_FACTORS;
pub(crate) use value::Value;
