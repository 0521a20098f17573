//! What there is to say about a family.

use serde_json::{Map, Value};

use super::dense::DenseModel;
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::gguf::GgufForm;
use crate::spec::ModelSpec;

/// What people are told of a family.
pub(crate) struct About {
    /// The models that people use.
    pub(crate) models: &'static str,
    /// What differs from Llama; empty for Llama.
    pub(crate) differs: &'static str,
    /// Released models that tests compute with.
    pub(crate) real_weights: &'static [&'static str],
}

/// Reads the numbers of a model from a GGUF file's metadata.
pub(super) type ReadGguf = fn(&GgufModel<'_>) -> Result<DenseModel, SourceError>;

/// A family of models.
pub(crate) struct Family {
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// transformers' class for text generation.
    pub(crate) class: &'static str,
    /// What people are told of the family.
    pub(crate) about: About,
    /// Fields that transformers fills in where config.json lacks them, as a JSON object.
    pub(crate) defaults: &'static str,
    /// The fields and keys among [`other_fields`](super::other_fields) that the readers take into
    /// account.
    pub(crate) fields: &'static [&'static str],
    /// What blocks are made of.
    pub(crate) form: Form,
    /// What llama.cpp makes of the family.
    pub(crate) gguf: GgufForm,
    /// The numbers of a model from its config.json.
    pub(super) read_config: fn(&Config<'_>) -> Result<DenseModel, SourceError>,
    /// The numbers of a model from a GGUF file's metadata; none where files of this family are
    /// read as those of another.
    pub(super) read_gguf: Option<ReadGguf>,
    /// The fields of config.json that only this family has.
    pub(super) write_config: fn(&ModelSpec, &mut Map<String, Value>),
}

/// For [`Family::write_config`] of a family without fields of its own.
pub(super) fn no_more_fields(_: &ModelSpec, _: &mut Map<String, Value>) {}
