//! What there is to say about a family.

use std::path::Path;

use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::spec::ModelSpec;

/// A family of models.
pub(crate) struct Family {
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// transformers' class for text generation.
    pub(crate) class: &'static str,
    /// `general.architecture` in a GGUF file, and with a dot what its keys begin with.
    pub(crate) gguf_architecture: &'static str,
    /// The fields and keys among [`other_fields`](super::other_fields) that the readers take into
    /// account.
    pub(crate) fields: &'static [&'static str],
    /// Whether llama.cpp's converter interleaves the halves of each head in queries and keys.
    pub(crate) interleaves_heads: bool,
    /// Makes the specification from the text of config.json, which is the file of this path.
    pub(crate) read_config: fn(&str, &Path) -> Result<ModelSpec, SourceError>,
    /// Makes the specification from a GGUF file.
    pub(crate) read_gguf: fn(&GgufModel<'_>) -> Result<ModelSpec, SourceError>,
}
