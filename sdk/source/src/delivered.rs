//! How the weights of a model came.

use std::collections::BTreeSet;

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
