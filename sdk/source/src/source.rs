//! A model on disk, open.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Map;
use tokenizers::Tokenizer;

use crate::bos::BosRule;
use crate::error::SourceError;
use crate::extra_tensors;
use crate::families::{self, Family};
use crate::folder::ModelFolder;
use crate::gguf::{self, GgufFile};
use crate::hf_files::HfFiles;
use crate::spec::{ModelSpec, TensorSpec};
use crate::tensor::StoredTensor;
use crate::tokenizer;

/// A model on disk, open.
pub struct Source {
    pub(crate) spec: ModelSpec,
    pub(crate) tensors: Vec<TensorSpec>,
    /// Tensor name to index into `tensors`.
    pub(crate) by_name: HashMap<String, usize>,
    pub(crate) family: &'static Family,
    pub(crate) files: Files,
    /// What of the configuration is left out.
    notes: Vec<String>,
    /// What takes long to make of large vocabularies, once it was asked for.
    tokenizer: OnceLock<Arc<Tokenizer>>,
    hf_files: OnceLock<HfFiles>,
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
            let mut folder = open_folder(path)?;
            let (family, mut whole) = (folder.family(), folder.spec()?);
            folder.find_experts(&whole);
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
        let mut source = Self {
            by_name: names.map(|(idx, it)| (it.name.clone(), idx)).collect(),
            spec,
            tensors,
            family,
            files,
            notes,
            tokenizer: OnceLock::new(),
            hf_files: OnceLock::new(),
        };
        let mut has_codes = false;
        for tensor in &source.tensors {
            match &source.files {
                Files::Folder(folder) => has_codes |= folder.check(tensor)?,
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
        if let Files::Folder(folder) = &source.files {
            source.notes.extend(folder.notes(&whole, has_codes));
        }
        Ok(source)
    }

    /// What the model computes. Blocks of an artifact may lack a sub-block.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Whether the files say for how long sequences the model was made, which is a default
    /// otherwise.
    pub fn says_context(&self) -> bool {
        match &self.files {
            Files::Folder(folder) => folder.says_context(),
            Files::Gguf(_) => true,
        }
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

    /// The model's tokenizer. `encode(text, false)` gives the plain token ids of a text. It is
    /// built when it is asked for first.
    ///
    /// # Errors
    /// When the model has none or it is of a kind that we cannot rebuild.
    pub fn tokenizer(&self) -> Result<Arc<Tokenizer>, SourceError> {
        if let Some(built) = self.tokenizer.get() {
            return Ok(Arc::clone(built));
        }
        let built = match &self.files {
            Files::Folder(folder) => folder.tokenizer()?,
            Files::Gguf(gguf) => gguf.tokenizer()?,
        };
        Ok(Arc::clone(self.tokenizer.get_or_init(|| Arc::new(built))))
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
    pub fn hf_files(&self) -> Result<&HfFiles, SourceError> {
        if let Some(made) = self.hf_files.get() {
            return Ok(made);
        }
        let made = match &self.files {
            Files::Folder(folder) => folder.hf_files(&self.spec)?,
            Files::Gguf(gguf) => gguf.hf_files(
                &self.spec,
                &*self.tokenizer()?,
                families::to_config(self.family, &self.spec, Map::new()),
                families::generation_config(&self.spec),
            )?,
        };
        Ok(self.hf_files.get_or_init(|| made))
    }

    /// What of the model's files decides no result, is not as it should be, and is left out: a
    /// sentence each.
    ///
    /// # Errors
    /// As [`Source::tokenizer`].
    pub fn notes(&self) -> Result<Vec<String>, SourceError> {
        let file = self.path().display();
        let notes = self.notes.iter().map(|note| format!("{file}: {note}"));
        let of_files = self.hf_files()?.notes.iter().cloned();
        Ok(notes.chain(of_files).collect())
    }

    /// The tokenizer that a Hugging Face folder of this model has: rebuilt from the file that would
    /// be written, which of a folder is its own.
    ///
    /// # Errors
    /// As [`Source::hf_files`].
    pub fn hf_tokenizer(&self) -> Result<Arc<Tokenizer>, SourceError> {
        if let Files::Folder(_) = &self.files {
            return self.tokenizer();
        }
        let rebuilt = tokenizer::parse(&self.hf_files()?.tokenizer);
        let rebuilt = rebuilt.map_err(|what| SourceError::Tokenizer {
            file: self.path().to_path_buf(),
            what,
        })?;
        Ok(Arc::new(rebuilt))
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

pub(crate) fn gguf_name(spec: &ModelSpec, tensor: &TensorSpec) -> String {
    gguf::names::of_tensor(spec, tensor.part, tensor.part.block_idx())
}
