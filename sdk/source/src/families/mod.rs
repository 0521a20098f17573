//! Families of models: how a configuration becomes a [`ModelSpec`](crate::spec::ModelSpec), and a
//! specification a configuration.
//!
//! Each family has a file that declares it by a [`Family`]; [`registry`] lists them. What families
//! share is beside them: the fields of `config.json` ([`from_config`], [`to_config`]), the metadata
//! of GGUF files ([`from_gguf`]), and models whose blocks are all alike ([`dense`]).

mod config_rope;
mod dense;
mod expert_fields;
mod experts;
mod experts_config;
mod family;
mod form;
mod from_config;
mod from_gguf;
mod gguf_rope;
mod nested;
mod numbers;
mod other_fields;
mod registry;
mod report;
mod rope_factors;
mod to_config;
mod windows;

mod gemma2;
mod gemma3;
mod granite;
mod granitemoe;
mod llama;
mod ministral;
mod ministral3;
mod mistral;
mod mixtral;
mod olmo2;
mod olmo3;
mod olmoe;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod smollm3;

pub(crate) use experts::NamesInMemory;
pub(crate) use family::Family;
pub(crate) use nested::{names_in_whole, text_part};
pub(crate) use numbers::{notes_on_nulls, sizes_by_default};
pub(crate) use registry::{of_config, of_gguf, spec_of_config, spec_of_gguf};
pub use report::supported_models;
pub(crate) use to_config::{generation_config, to_config};
