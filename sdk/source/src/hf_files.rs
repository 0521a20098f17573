//! What a Hugging Face folder holds beside the weights.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::SourceError;

/// Files of a Hugging Face folder, ready to write. The one who writes the weights sets
/// `torch_dtype` in `config`.
#[derive(Debug, Clone, Default)]
pub struct HfFiles {
    /// `config.json` in the form that transformers 4 and 5 both read.
    pub config: Map<String, Value>,
    /// `tokenizer.json`, whole.
    pub tokenizer: String,
    /// `tokenizer_config.json`, with `chat_template` where the model has one.
    pub tokenizer_config: Map<String, Value>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Map<String, Value>,
    /// `generation_config.json`.
    pub generation_config: Map<String, Value>,
    /// Name that the model gives itself.
    pub name: Option<String>,
    /// Licence, as an SPDX-like word (`apache-2.0`).
    pub license: Option<String>,
    /// What of the source's files is left out, and why: a sentence each.
    pub notes: Vec<String>,
    /// Other files of the source folder to copy as they are: `chat_template.jinja`, `LICENSE`.
    pub copies: Vec<PathBuf>,
}

impl HfFiles {
    /// Writes all of these files into `folder`, which exists.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), SourceError> {
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            std::fs::write(&file, text).map_err(|cause| SourceError::Write { file, cause })
        };
        let maps = [
            ("config.json", &self.config),
            ("tokenizer_config.json", &self.tokenizer_config),
            ("special_tokens_map.json", &self.special_tokens_map),
            ("generation_config.json", &self.generation_config),
        ];
        for (name, map) in maps {
            if !map.is_empty() {
                write(name, &format!("{:#}\n", Value::Object(map.clone())))?;
            }
        }
        write("tokenizer.json", &self.tokenizer)?;
        for source in &self.copies {
            if let Some(name) = source.file_name() {
                let target = folder.join(name);
                std::fs::copy(source, &target).map_err(|cause| SourceError::Write {
                    file: target,
                    cause,
                })?;
            }
        }
        Ok(())
    }
}
