//! How the weights of a model came.

use std::collections::BTreeSet;

use crate::error::SourceError;
use crate::source::{Files, Source};

/// The form of weights that were quantized by whoever made the model's files. What is read of them
/// is dense, but only as good as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The method: `gptq`, `awq` and so on as in `quantization_config`, or `gguf`.
    pub method: String,
    /// What quantized tensors are stored as: `4-bit`, `fp8`, or ggml's types.
    pub types: BTreeSet<String>,
    /// Bytes of the files with the weights.
    pub size_bytes: u64,
}

impl Source {
    /// How the model's weights were quantized when they came; none where all are dense in its
    /// files.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn delivered(&self) -> Result<Option<Delivered>, SourceError> {
        let (method, size_bytes) = match &self.files {
            Files::Folder(folder) => (folder.quantization_method(), folder.size_bytes()),
            Files::Gguf(gguf) => (Some("gguf"), gguf.size_bytes()),
        };
        let mut types = BTreeSet::new();
        for tensor in &self.tensors {
            types.extend(match &self.files {
                Files::Folder(folder) => folder.quantized_type(tensor)?,
                Files::Gguf(gguf) => {
                    let (ggml_type, _) = self.gguf_bytes(gguf, tensor)?;
                    let is_quantized = ggml_type.is_quantized();
                    is_quantized.then(|| ggml_type.name().to_owned())
                }
            });
        }
        let method = method.filter(|_| !types.is_empty());
        Ok(method.map(|method| Delivered {
            method: method.to_owned(),
            types,
            size_bytes,
        }))
    }
}
