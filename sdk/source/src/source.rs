//! A model on disk, open.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use evopress_plugin::GgmlType;
use serde_json::Map;
use tokenizers::Tokenizer;

use crate::bos::BosRule;
use crate::error::SourceError;
use crate::extra_tensors;
use crate::families::{self, Family};
use crate::folder::ModelFolder;
use crate::gguf::{self, Entries, GgufFile};
use crate::hf_files::HfFiles;
use crate::spec::{LayerRole, ModelSpec, NormSpec, TensorPart, TensorSpec};
use crate::tensor::StoredTensor;
use crate::tokenizer;

/// A model on disk, open.
pub struct Source {
    spec: ModelSpec,
    pub(crate) tensors: Vec<TensorSpec>,
    /// Tensor name to index into `tensors`.
    by_name: HashMap<String, usize>,
    family: &'static Family,
    pub(crate) files: Files,
    /// What of the configuration is left out.
    notes: Vec<String>,
}

/// The files that a model lies in.
pub(crate) enum Files {
    Folder(Box<ModelFolder>),
    Gguf(GgufFile),
}

impl Source {
    /// Opens a Hugging Face folder or a GGUF file; of a split one, all parts by the first.
    ///
    /// # Errors
    /// When the model cannot be read, is of another family, or lacks a tensor that its
    /// configuration implies.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Self::open_as(path, ModelFolder::open, GgufFile::open)
    }

    /// Opens a model that this project has written: blocks may lack a sub-block (Nemotron-NAS,
    /// llama.cpp's `deci`).
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_artifact(path: &Path) -> Result<Self, SourceError> {
        Self::open_as(path, ModelFolder::open_artifact, GgufFile::open_artifact)
    }

    fn open_as(
        path: &Path,
        open_folder: fn(&Path) -> Result<ModelFolder, SourceError>,
        open_gguf: fn(&Path) -> Result<GgufFile, SourceError>,
    ) -> Result<Self, SourceError> {
        let metadata = std::fs::metadata(path).map_err(|cause| SourceError::Read {
            file: path.to_path_buf(),
            cause,
        })?;
        let is_gguf = || {
            let extension = path.extension();
            extension.is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
        };
        if metadata.is_dir() {
            let folder = open_folder(path)?;
            let (family, mut whole) = (folder.family(), folder.spec()?);
            if extra_tensors::has_own_head(&whole, &folder) {
                whole.head.tied = false;
            }
            Self::checked(family, whole, Files::Folder(Box::new(folder)))
        } else if is_gguf() {
            let gguf = open_gguf(path)?;
            let family = families::of_gguf(&gguf.metadata())?;
            let has_tensor = |name: &str| gguf.has(name);
            let factors = gguf.rope_factors()?;
            let whole = families::spec_of_gguf(family, &gguf.metadata(), &has_tensor, factors)?;
            Self::checked(family, whole, Files::Gguf(gguf))
        } else {
            Err(SourceError::NotAModel {
                path: path.to_path_buf(),
                found: "another file".into(),
            })
        }
    }

    /// The model if its files have every tensor as they must; in `whole` no block lacks anything.
    fn checked(
        family: &'static Family,
        mut whole: ModelSpec,
        files: Files,
    ) -> Result<Self, SourceError> {
        let notes = whole.leave_out_ids_beyond_the_vocabulary();
        let reduced = match &files {
            Files::Folder(folder) => folder.reduced(),
            Files::Gguf(gguf) => gguf.reduced(),
        };
        let spec = match reduced {
            Some(reduced) => reduced.of(whole.clone()),
            None => whole.clone(),
        };
        let tensors = spec.tensors();
        let names = tensors.iter().enumerate();
        let source = Self {
            by_name: names.map(|(idx, it)| (it.name.clone(), idx)).collect(),
            spec,
            tensors,
            family,
            files,
            notes,
        };
        for tensor in &source.tensors {
            match &source.files {
                Files::Folder(folder) => folder.check(tensor)?,
                Files::Gguf(gguf) => {
                    source.gguf_bytes(gguf, tensor)?;
                }
            }
        }
        for tensor in whole.tensors().iter().filter(|it| !source.has(&it.name)) {
            let is_there = match &source.files {
                Files::Folder(folder) => folder.has(tensor.name_in_files()),
                Files::Gguf(gguf) => gguf.has(&gguf_name(&whole, tensor)),
            };
            if is_there {
                let name = &tensor.name;
                return Err(SourceError::malformed(
                    source.path(),
                    format!("tensor {name} is of a half that its block does not have"),
                ));
            }
        }
        match &source.files {
            Files::Folder(folder) => extra_tensors::check_folder(&whole, folder)?,
            Files::Gguf(gguf) => extra_tensors::check_gguf(&whole, gguf)?,
        }
        Ok(source)
    }

    /// What the model computes. Blocks of an artifact may lack a sub-block.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// All tensors, in the order of the forward pass. A tied head is not listed.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Whether the model has a tensor, by its Hugging Face name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// A tensor by its Hugging Face name, in the stored type where that is f32, f16 or bf16,
    /// de-quantized to f32 otherwise. Linear weights are `[out_features, in_features]`.
    ///
    /// # Errors
    /// When the model has no such tensor.
    pub fn read(&self, name: &str) -> Result<StoredTensor<'_>, SourceError> {
        let expected = self.expected(name)?;
        let gguf = match &self.files {
            Files::Folder(folder) => return folder.tensor(expected),
            Files::Gguf(gguf) => gguf,
        };
        let (ggml_type, bytes) = self.gguf_bytes(gguf, expected)?;
        let tensor = StoredTensor::ggml(ggml_type, &expected.shape, bytes);
        Ok(match self.interleaved_heads(expected.part) {
            Some(num_heads) => tensor.with_halves_of_heads(num_heads),
            None if self.adds_one(self.spec.norm_of(expected.part)) => tensor.less_one(),
            None => tensor,
        })
    }

    fn expected(&self, name: &str) -> Result<&TensorSpec, SourceError> {
        match self.by_name.get(name) {
            Some(&idx) => Ok(&self.tensors[idx]),
            None => Err(SourceError::UnknownTensor {
                file: self.path().to_path_buf(),
                name: name.into(),
            }),
        }
    }

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

    /// The model's tokenizer. `encode(text, false)` gives the plain token ids of a text.
    ///
    /// # Errors
    /// When the model has none or it is of a kind that we cannot rebuild.
    pub fn tokenizer(&self) -> Result<Tokenizer, SourceError> {
        match &self.files {
            Files::Folder(folder) => folder.tokenizer(),
            Files::Gguf(gguf) => gguf.tokenizer(),
        }
    }

    /// How sequences begin in this model's runtimes. The tokenizer is the model's.
    ///
    /// # Errors
    /// A tokenizer that puts several tokens before a text, or one without an embedding.
    pub fn bos_rule(&self, tokenizer: &Tokenizer) -> Result<BosRule, SourceError> {
        let bos_token_id = self.spec.bos_token_id;
        let mut rule = match &self.files {
            Files::Folder(folder) => folder.bos_rule(tokenizer, bos_token_id)?,
            Files::Gguf(gguf) => gguf.bos_rule(tokenizer, bos_token_id)?,
        };
        let num_embeddings = self.spec.vocab_size;
        let beyond = rule.token.filter(|id| i64::from(*id) >= num_embeddings);
        match beyond {
            Some(id) if rule.is_prepended => Err(SourceError::Tokenizer {
                file: self.path().to_path_buf(),
                what: format!(
                    "its BOS token has the id {id}, but the model has {num_embeddings} embeddings"
                ),
            }),
            Some(_) => {
                rule.token = None;
                Ok(rule)
            }
            None => Ok(rule),
        }
    }

    /// What a Hugging Face folder of this model needs beside the weights.
    ///
    /// # Errors
    /// As [`Source::tokenizer`].
    pub fn hf_files(&self) -> Result<HfFiles, SourceError> {
        match &self.files {
            Files::Folder(folder) => folder.hf_files(&self.spec),
            Files::Gguf(gguf) => gguf.hf_files(
                &self.spec,
                families::to_config(self.family, &self.spec, Map::new()),
                families::generation_config(&self.spec),
            ),
        }
    }

    /// What of the model's files decides no result, is not as it should be, and is left out: a
    /// sentence each.
    ///
    /// # Errors
    /// As [`Source::tokenizer`].
    pub fn notes(&self) -> Result<Vec<String>, SourceError> {
        let file = self.path().display();
        let notes = self.notes.iter().map(|note| format!("{file}: {note}"));
        Ok(notes.chain(self.hf_files()?.notes).collect())
    }

    /// The metadata of a GGUF file of this model, but for what depends on how its tensors are
    /// stored.
    ///
    /// # Errors
    /// When the tokenizer of a folder cannot be said in GGUF's terms.
    pub fn gguf_entries(&self) -> Result<Entries, SourceError> {
        match &self.files {
            Files::Folder(folder) => {
                let files = folder.hf_files(&self.spec)?;
                let form = &self.family.gguf;
                if let Some(what) = gguf::foreign(form, &self.spec) {
                    return Err(SourceError::Unsupported {
                        file: folder.path().to_path_buf(),
                        what: format!("format `gguf`: llama.cpp's `{}`", form.architecture),
                        found: what,
                        supported: "what it computes as the model does".into(),
                    });
                }
                gguf::entries_of_spec(form, &self.spec, &files, folder.path())
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
    /// written.
    ///
    /// # Errors
    /// As [`Source::gguf_entries`].
    pub fn gguf_tokenizer(&self) -> Result<Tokenizer, SourceError> {
        gguf::tokenizer_of(&self.gguf_entries()?, self.path())
    }

    /// The tokenizer that a Hugging Face folder of this model has: rebuilt from the file that would
    /// be written.
    ///
    /// # Errors
    /// As [`Source::hf_files`].
    pub fn hf_tokenizer(&self) -> Result<Tokenizer, SourceError> {
        tokenizer::parse(&self.hf_files()?.tokenizer).map_err(|what| SourceError::Tokenizer {
            file: self.path().to_path_buf(),
            what,
        })
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

    /// Number of weights, norms and biases; a tied head counts once.
    pub fn num_parameters(&self) -> u64 {
        self.spec.num_parameters()
    }

    /// The files whose content makes the model's identity, in a fixed order.
    pub fn digest_files(&self) -> Vec<PathBuf> {
        match &self.files {
            Files::Folder(folder) => folder.digest_files(),
            Files::Gguf(gguf) => gguf.paths().map(Path::to_path_buf).collect(),
        }
    }

    /// Takes what was read of the model's files out of this process's memory; it comes back when it
    /// is read again.
    pub fn release(&self) {
        match &self.files {
            Files::Folder(folder) => folder.release(),
            Files::Gguf(gguf) => gguf.release(),
        }
    }

    /// Where the model was opened.
    pub fn path(&self) -> &Path {
        match &self.files {
            Files::Folder(folder) => folder.path(),
            Files::Gguf(gguf) => gguf.path(),
        }
    }
}

fn gguf_name(spec: &ModelSpec, tensor: &TensorSpec) -> String {
    gguf::names::of_tensor(spec, tensor.part, tensor.part.block_idx())
}
