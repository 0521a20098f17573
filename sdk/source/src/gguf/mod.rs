//! GGUF files, versions 2 and 3.

mod deci;
mod entries;
mod file;
mod form;
mod from_spec;
mod limits;
mod metadata;
pub mod names;
mod parse;
mod part;
mod split;
mod stacked;
mod tokenizer;
mod types;
mod value;

pub use deci::ARCHITECTURE as DECI;
pub use entries::{Entries, push_string};
pub(crate) use file::{GgufFile, RopeFactors};
pub(crate) use form::{GgufBiases, GgufForm, GgufHead, GgufWindows};
pub(crate) use from_spec::entries as entries_of_spec;
pub use from_spec::rope_factors;
pub(crate) use from_spec::tokenizer_of;
pub(crate) use from_spec::windows as windows_of_spec;
pub(crate) use limits::{foreign, told_by_number};
pub(crate) use metadata::Metadata;
pub use names::{ROPE_FACTORS, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT};
pub(crate) use stacked::stored;
pub(crate) use value::Value;
