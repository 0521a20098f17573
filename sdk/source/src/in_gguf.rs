//! A model in the terms of GGUF files: its metadata, and its tensors as llama.cpp has them.

use std::sync::Arc;

use evopress_plugin::GgmlType;
use tokenizers::Tokenizer;

use crate::error::SourceError;
use crate::gguf::{self, Entries, GgufFile};
use crate::source::{Files, Source, gguf_name};
use crate::spec::{LayerRole, NormSpec, TensorPart, TensorSpec};

impl Source {
    /// The number of heads of a tensor whose rows llama.cpp has in another order: it rotates
    /// neighbours where transformers rotates halves of a head, so the halves are interleaved there.
    pub fn interleaved_heads(&self, part: TensorPart) -> Option<i64> {
        let role = self.spec.layer_of(part)?.role;
        let attention = self.spec.blocks[part.block_idx()?].attention.as_ref()?;
        match role {
            _ if !self.family.gguf.interleaves_heads => None,
            LayerRole::Query => Some(attention.num_heads),
            LayerRole::Key => Some(attention.num_kv_heads),
            _ => None,
        }
    }

    /// What the keys of a GGUF file of this model begin with, without the dot.
    pub fn gguf_architecture(&self) -> &'static str {
        self.family.gguf.architecture
    }

    /// The metadata of a GGUF file of this model, but for what depends on how its tensors are
    /// stored.
    ///
    /// # Errors
    /// When the tokenizer of a folder cannot be said in GGUF's terms.
    pub fn gguf_entries(&self) -> Result<Entries, SourceError> {
        match &self.files {
            Files::Folder(folder) => {
                let files = self.hf_files()?;
                let form = &self.family.gguf;
                if let Some(what) = gguf::foreign(form, &self.spec) {
                    return Err(SourceError::Unsupported {
                        file: folder.path().to_path_buf(),
                        what: format!("format `gguf`: llama.cpp's `{}`", form.architecture),
                        found: what,
                        supported: "what it computes as the model does".into(),
                    });
                }
                gguf::entries_of_spec(form, &self.spec, files, folder.path())
            }
            Files::Gguf(gguf) => {
                let mut entries = gguf.entries();
                // Which blocks have windows, where llama.cpp knows it by their numbers otherwise.
                gguf::windows_of_spec(&self.family.gguf, &self.spec, &mut entries);
                Ok(entries)
            }
        }
    }

    /// The tokenizer that a GGUF file of this model has: rebuilt from the metadata that would be
    /// written, which of a GGUF file is its own.
    ///
    /// # Errors
    /// As [`Source::gguf_entries`].
    pub fn gguf_tokenizer(&self) -> Result<Arc<Tokenizer>, SourceError> {
        match &self.files {
            Files::Folder(_) => {
                gguf::tokenizer_of(&self.gguf_entries()?, self.path()).map(Arc::new)
            }
            Files::Gguf(_) => self.tokenizer(),
        }
    }

    /// What llama.cpp tells by the number of a block, or of blocks, so that a GGUF file of this
    /// model must have all of them; none where blocks may be left out.
    pub fn gguf_told_by_number(&self) -> Option<&'static str> {
        gguf::told_by_number(&self.family.gguf, &self.spec)
    }

    /// The type and bytes of a tensor of a GGUF file, in llama.cpp's order of rows, by Hugging
    /// Face's name, or by llama.cpp's where it is of divisors of the rotary frequencies; none where
    /// the model is a folder or has no such tensor.
    ///
    /// # Errors
    /// When the tensor's bytes are not all in the file.
    pub fn gguf_tensor(&self, name: &str) -> Result<Option<(GgmlType, &[u8])>, SourceError> {
        let Files::Gguf(gguf) = &self.files else {
            return Ok(None);
        };
        match self.by_name.get(name) {
            Some(&idx) => self.gguf_bytes(gguf, &self.tensors[idx]).map(Some),
            None => gguf.rope_factor_bytes(name),
        }
    }

    /// The type and the bytes of a tensor, which may be some rows of one of the file.
    pub(crate) fn gguf_bytes<'a>(
        &self,
        gguf: &'a GgufFile,
        expected: &TensorSpec,
    ) -> Result<(GgmlType, &'a [u8]), SourceError> {
        let name = gguf_name(&self.spec, expected);
        let Some(stored) = gguf::stored(&self.spec, expected) else {
            let shape = match expected.part {
                // One row of numbers in llama.cpp.
                TensorPart::SharedGate { .. } => &expected.shape[1..],
                _ => &expected.shape,
            };
            return gguf.bytes(&name, &expected.name, shape);
        };
        let (ggml_type, bytes) = gguf.bytes(&name, &expected.name, &stored.shape)?;
        Ok((ggml_type, stored.rows_of(&expected.shape, bytes)))
    }

    /// Whether the model's file is a GGUF file that holds the weight of such a norm with the 1
    /// added that is left out in Hugging Face's files. Of an artifact, `norm` is the source's.
    pub fn adds_one(&self, norm: Option<&NormSpec>) -> bool {
        matches!(self.files, Files::Gguf(_)) && norm.is_some_and(|it| it.is_offset)
    }
}
