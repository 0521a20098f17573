//! One GGUF file.

use std::path::Path;

use evopress_plugin::GgmlType;
use serde_json::{Map, Value as Json};
use tokenizers::Tokenizer;

use super::deci;
use super::entries::Entries;
use super::metadata::Metadata;
use super::names::ROPE_FACTORS;
use super::parse::{self, Header, TensorInfo};
use super::{tokenizer, types};
use crate::error::SourceError;
use crate::hf_files::HfFiles;
use crate::mapped_file::MappedFile;
use crate::reduced::Reduced;
use crate::spec::ModelSpec;
use crate::tensor::StoredTensor;

/// One GGUF file, mapped, its header read.
pub(crate) struct GgufFile {
    map: MappedFile,
    header: Header,
    /// What there is of its blocks, where they differ.
    reduced: Option<Reduced>,
}

impl GgufFile {
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        let map = MappedFile::open(path)?;
        let header = parse::parse(map.bytes()).map_err(|what| map.malformed(what))?;
        Ok(Self {
            map,
            header,
            reduced: None,
        })
    }

    /// Opens a file that this project has written: blocks may lack a sub-block.
    pub(crate) fn open_artifact(path: &Path) -> Result<Self, SourceError> {
        let mut gguf = Self::open(path)?;
        if gguf.metadata().optional_str("general.architecture")? == Some(deci::ARCHITECTURE) {
            let reduced = deci::as_llama(&mut gguf.header.metadata);
            gguf.reduced = Some(reduced.map_err(|what| gguf.map.malformed(what))?);
        }
        Ok(gguf)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.map.path
    }

    pub(crate) fn metadata(&self) -> Metadata<'_> {
        Metadata {
            file: &self.map.path,
            entries: &self.header.metadata,
        }
    }

    /// What there is of the blocks, where they differ.
    pub(crate) fn reduced(&self) -> Option<&Reduced> {
        self.reduced.as_ref()
    }

    /// Whether the file has a tensor, by its name there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    /// The names of all tensors there.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// A tensor as it is in the file, in llama.cpp's order of rows, after all checks: its type and
    /// its bytes. `meaning` is Hugging Face's name of it.
    pub(crate) fn bytes(
        &self,
        name: &str,
        meaning: &str,
        shape: &[i64],
    ) -> Result<(GgmlType, &[u8]), SourceError> {
        let (file, tensor) = (|| self.map.path.clone(), || name.to_owned());
        let info: &TensorInfo =
            self.header
                .tensors
                .get(name)
                .ok_or_else(|| SourceError::MissingTensor {
                    file: file(),
                    tensor: format!("{name} ({meaning})"),
                    expected: shape.to_vec(),
                })?;
        let encoding = GgmlType::from_id(info.type_id).ok_or_else(|| SourceError::TensorType {
            file: file(),
            tensor: tensor(),
            found: types::type_name(info.type_id),
            supported: types::SUPPORTED,
        })?;
        if info.shape != shape {
            return Err(SourceError::Shape {
                file: file(),
                tensor: tensor(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        let row = info.shape.last().copied().unwrap_or(1) as usize;
        if !row.is_multiple_of(encoding.block_len()) {
            return Err(self.map.malformed(format!(
                "tensor {name} has rows of {row} weights, its type {} needs a multiple of {}",
                types::type_name(info.type_id),
                encoding.block_len()
            )));
        }
        let num_blocks = info.shape.iter().product::<i64>() as u64 / encoding.block_len() as u64;
        let start = self.header.data_start.checked_add(info.offset);
        let end = num_blocks
            .checked_mul(encoding.block_bytes() as u64)
            .and_then(|size_bytes| start?.checked_add(size_bytes));
        let bytes = start.zip(end).and_then(|(start, end)| {
            self.map
                .bytes()
                .get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        });
        match bytes {
            Some(bytes) => Ok((encoding, bytes)),
            None => Err(SourceError::Truncated {
                file: file(),
                tensor: tensor(),
                end: end.unwrap_or(u64::MAX),
                size: self.map.bytes().len() as u64,
            }),
        }
    }

    /// A tensor in llama.cpp's order of rows, after all checks.
    pub(crate) fn tensor(
        &self,
        name: &str,
        meaning: &str,
        shape: &[i64],
    ) -> Result<StoredTensor<'_>, SourceError> {
        let (ggml_type, bytes) = self.bytes(name, meaning, shape)?;
        Ok(StoredTensor::ggml(ggml_type, shape, bytes))
    }

    /// The divisors of the rotary frequencies as they are in the file: their type and bytes.
    pub(crate) fn rope_factor_bytes(&self) -> Result<Option<(GgmlType, &[u8])>, SourceError> {
        let Some(info) = self.header.tensors.get(ROPE_FACTORS) else {
            return Ok(None);
        };
        self.bytes(ROPE_FACTORS, ROPE_FACTORS, &info.shape)
            .map(Some)
    }

    /// The divisors of the rotary frequencies, `[head_dim / 2]`.
    pub(crate) fn rope_factors(&self) -> Result<Option<Vec<f64>>, SourceError> {
        let Some((ggml_type, bytes)) = self.rope_factor_bytes()? else {
            return Ok(None);
        };
        let mut factors = vec![0.0; bytes.len() / ggml_type.block_bytes() * ggml_type.block_len()];
        ggml_type.dequantize(bytes, &mut factors);
        Ok(Some(factors.into_iter().map(f64::from).collect()))
    }

    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, SourceError> {
        tokenizer::build(&self.metadata())
    }

    /// What a Hugging Face folder of the model holds beside the weights, with these configurations.
    pub(crate) fn hf_files(
        &self,
        spec: &ModelSpec,
        config: Map<String, Json>,
        generation_config: Map<String, Json>,
    ) -> Result<HfFiles, SourceError> {
        let metadata = self.metadata();
        let tokenizer =
            self.tokenizer()?
                .to_string(false)
                .map_err(|cause| SourceError::Tokenizer {
                    file: self.map.path.clone(),
                    what: cause.to_string(),
                })?;
        let text = |key: &str| {
            metadata
                .optional_str(key)
                .map(|text| text.map(str::to_owned))
        };
        Ok(HfFiles {
            config,
            tokenizer,
            tokenizer_config: tokenizer::tokenizer_config(&metadata, spec)?,
            special_tokens_map: tokenizer::special_tokens_map(&metadata)?,
            generation_config,
            name: text("general.name")?,
            license: text("general.license")?,
            notes: Vec::new(),
            copies: Vec::new(),
        })
    }

    /// All metadata but what depends on how the tensors are stored.
    pub(crate) fn entries(&self) -> Entries {
        let of_storage = |key: &str| {
            let keys = [
                "general.alignment",
                "general.file_type",
                "general.quantization_version",
            ];
            keys.contains(&key) || key.starts_with("split.") || key.starts_with("quantize.")
        };
        let is_no_token = |key: &str| tokenizer::is_no_token(&self.metadata(), key);
        let mut entries = Entries::default();
        let values = self.header.values.iter();
        for (key, range) in values.filter(|(key, _)| !of_storage(key) && !is_no_token(key)) {
            entries.raw(key, self.map.bytes()[range.clone()].to_vec());
        }
        entries
    }
}
