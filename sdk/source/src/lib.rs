//! Models on disk: Hugging Face folders and GGUF files behind one face.
//!
//! In goes a path; out come a [`ModelConfig`], tensors under Hugging Face's names and in its layout, and a tokenizer,
//! whatever the format was. Files are memory-mapped; every tensor that the configuration implies is checked for
//! presence, type, shape and extent when the model is opened, so that a broken file is a sentence then and not a
//! fault in the middle of a run.

mod config;
mod error;
mod families;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod folder;
mod gguf;
mod hf_config;
mod hf_files;
mod map;
pub mod nemotron_nas;
mod packed;
mod reduced;
mod safetensors;
pub mod spec;

use std::path::{Path, PathBuf};

use evopress_plugin::GgmlType;
use tch::Tensor;
use tokenizers::Tokenizer;

pub use config::LAYERS_PER_BLOCK;
pub use config::ModelConfig;
pub use error::SourceError;
pub use gguf::{DECI, Entries, ROPE_FACTORS, push_string, to_gguf};
pub use hf_files::HfFiles;
pub use reduced::{half_of, with_mlp_width};
pub use spec::{ModelSpec, Rope, RopeScaling};

use config::Expected;
use reduced::Reduced;

/// A model on disk, open.
pub struct Source {
    config: ModelConfig,
    spec: ModelSpec,
    expected: Vec<Expected>,
    files: Files,
}

enum Files {
    Folder(folder::Folder),
    Gguf(gguf::Gguf),
}

impl Source {
    /// Opens a Hugging Face folder or a GGUF file.
    ///
    /// # Errors
    /// When the model cannot be read, is of another family, or lacks a tensor that its configuration implies.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Self::open_as(path, folder::Folder::open, gguf::Gguf::open)
    }

    /// Opens a model that this project has written. Packed linear layers (compressed-tensors, GPTQ)
    /// are unpacked when they are asked for. A sub-block that the artifact does not have
    /// (Nemotron-NAS, llama.cpp's `deci`) reads as tensors of zeros.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_artifact(path: &Path) -> Result<Self, SourceError> {
        Self::open_as(
            path,
            folder::Folder::open_artifact,
            gguf::Gguf::open_artifact,
        )
    }

    fn open_as(
        path: &Path,
        open_folder: fn(&Path) -> Result<folder::Folder, SourceError>,
        open_gguf: fn(&Path) -> Result<gguf::Gguf, SourceError>,
    ) -> Result<Self, SourceError> {
        let metadata = std::fs::metadata(path).map_err(|cause| SourceError::Read {
            file: path.to_path_buf(),
            cause,
        })?;
        let (config, files) = if metadata.is_dir() {
            let folder = open_folder(path)?;
            (folder.config()?, Files::Folder(folder))
        } else if path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
        {
            let gguf = open_gguf(path)?;
            (gguf.config()?, Files::Gguf(gguf))
        } else {
            return Err(SourceError::NotAModel {
                path: path.to_path_buf(),
                found: "another file".into(),
            });
        };
        let source = Self {
            expected: config::expected_tensors(&config),
            spec: families::dense_spec(&config),
            config,
            files,
        };
        for tensor in &source.expected {
            source.check(tensor)?;
        }
        Ok(source)
    }

    fn check(&self, expected: &Expected) -> Result<(), SourceError> {
        match (&self.files, self.stored(expected)) {
            (Files::Folder(folder), Some(stored)) => folder.check(&stored),
            (Files::Gguf(gguf), Some(stored)) => gguf.check(&stored),
            (_, None) if self.has(&expected.name) => Err(SourceError::Malformed {
                file: self.path().to_path_buf(),
                what: format!(
                    "tensor {} is of a half that its block does not have",
                    expected.name
                ),
            }),
            (_, None) => Ok(()),
        }
    }

    fn has(&self, name: &str) -> bool {
        match &self.files {
            Files::Folder(folder) => folder.has(name),
            Files::Gguf(gguf) => gguf.has(name),
        }
    }

    /// A tensor as the files have it; none where its half of a block is not there.
    fn stored(&self, expected: &Expected) -> Option<Expected> {
        let reduced: &Option<Reduced> = match &self.files {
            Files::Folder(folder) => &folder.reduced,
            Files::Gguf(gguf) => &gguf.reduced,
        };
        match reduced {
            Some(reduced) => reduced.stored(expected, &self.config),
            None => Some(expected.clone()),
        }
    }

    /// Whether an artifact does not have a tensor, which then reads as zeros.
    pub fn goes_without(&self, name: &str) -> bool {
        let expected = self.expected.iter().find(|tensor| tensor.name == name);
        expected.is_some_and(|expected| self.stored(expected).is_none())
    }

    /// What the model computes, as data.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Names of all tensors, in the order of the forward pass. A tied head is not listed.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.expected.iter().map(|tensor| tensor.name.as_str())
    }

    /// Names of the linear layers of all blocks, in the order of the outline.
    pub fn layer_names(&self) -> Vec<String> {
        let outline = self.config.outline(0);
        outline.layers.into_iter().map(|layer| layer.name).collect()
    }

    /// Names and shapes of all tensors, in the order of the forward pass.
    pub fn tensor_shapes(&self) -> impl Iterator<Item = (&str, &[i64])> {
        self.expected
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
    }

    /// A tensor by its Hugging Face name, on the CPU, in memory of its own: in the stored type where that is f32, f16 or
    /// bf16, de-quantized to f32 otherwise. Linear weights are `[out_features, in_features]`.
    ///
    /// # Errors
    /// When the model has no such tensor or libtorch cannot allocate it.
    pub fn tensor(&self, name: &str) -> Result<Tensor, SourceError> {
        let unknown = || SourceError::UnknownTensor {
            file: self.path().to_path_buf(),
            name: name.into(),
        };
        let expected = self
            .expected
            .iter()
            .find(|tensor| tensor.name == name)
            .ok_or_else(unknown)?;
        let Some(stored) = self.stored(expected) else {
            return reduced::zeros(&expected.shape);
        };
        let tensor = match &self.files {
            Files::Folder(folder) => folder.tensor(&stored),
            Files::Gguf(gguf) => gguf.tensor(&stored, &self.config),
        }?;
        reduced::padded(tensor, &expected.shape)
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

    /// What a Hugging Face folder of this model needs beside the weights.
    ///
    /// # Errors
    /// As [`Source::tokenizer`].
    pub fn hf_files(&self) -> Result<HfFiles, SourceError> {
        match &self.files {
            Files::Folder(folder) => folder.hf_files(&self.config),
            Files::Gguf(gguf) => gguf.hf_files(&self.config),
        }
    }

    /// The metadata of a GGUF file of this model, but for what depends on how its tensors are stored.
    ///
    /// # Errors
    /// When the tokenizer of a folder cannot be said in GGUF's terms.
    pub fn gguf_entries(&self) -> Result<Entries, SourceError> {
        match &self.files {
            Files::Folder(folder) => {
                let files = folder.hf_files(&self.config)?;
                gguf::entries_from_hf(&self.config, &files, folder.path())
            }
            Files::Gguf(gguf) => Ok(gguf.entries()),
        }
    }

    /// The type and bytes of a tensor of a GGUF file, in llama.cpp's order of rows; none where the model is a folder.
    ///
    /// # Errors
    /// When the tensor is missing or its bytes are not all in the file.
    pub fn gguf_tensor(&self, name: &str) -> Result<Option<(GgmlType, &[u8])>, SourceError> {
        match &self.files {
            Files::Gguf(gguf) if name == ROPE_FACTORS => gguf.rope_factors(),
            Files::Gguf(gguf) => {
                let expected = self.expected.iter().find(|tensor| tensor.name == name);
                expected.map(|expected| gguf.stored(expected)).transpose()
            }
            Files::Folder(_) => Ok(None),
        }
    }

    /// Number of weights; a tied head counts once.
    pub fn num_parameters(&self) -> u64 {
        self.expected
            .iter()
            .map(|tensor| tensor.shape.iter().product::<i64>() as u64)
            .sum()
    }

    /// The files whose content makes the model's identity, in a fixed order.
    pub fn digest_files(&self) -> Vec<PathBuf> {
        match &self.files {
            Files::Folder(folder) => folder.digest_files(),
            Files::Gguf(gguf) => vec![gguf.path().to_path_buf()],
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
