//! GGUF files, versions 2 and 3, of the Llama architecture.

mod deci;
mod entries;
mod from_hf;
mod metadata;
mod names;
mod parse;
mod quant;
mod tokenizer;
mod value;

use std::path::Path;

use evopress_plugin::GgmlType;
use serde_json::Map;
use tch::{Kind, Tensor};
use tokenizers::Tokenizer;

pub use self::deci::ARCHITECTURE as DECI;
pub use self::entries::{Entries, push_string};
pub(super) use self::from_hf::entries as entries_from_hf;
use self::metadata::Metadata;
pub use self::names::{ROPE_FACTORS, to_gguf};
use self::parse::{Header, TensorInfo};
use super::SourceError;
use super::config::{Expected, ModelConfig};
use super::hf_config;
use super::hf_files::HfFiles;
use super::map::MappedFile;
use super::reduced::Reduced;

/// One GGUF file, mapped, its header read.
pub(super) struct Gguf {
    map: MappedFile,
    header: Header,
    /// What there is of its blocks, where they differ.
    pub(super) reduced: Option<Reduced>,
}

impl Gguf {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let map = MappedFile::open(path)?;
        let header = parse::parse(map.bytes()).map_err(|what| map.malformed(what))?;
        Ok(Self {
            map,
            header,
            reduced: None,
        })
    }

    /// The same for a file whose blocks may lack a half.
    pub(super) fn open_artifact(path: &Path) -> Result<Self, SourceError> {
        let mut gguf = Self::open(path)?;
        if gguf.metadata().optional_str("general.architecture")? == Some(DECI) {
            let reduced = deci::as_llama(&mut gguf.header.metadata);
            gguf.reduced = Some(reduced.map_err(|what| gguf.map.malformed(what))?);
        }
        Ok(gguf)
    }

    pub(super) fn path(&self) -> &Path {
        &self.map.path
    }

    fn metadata(&self) -> Metadata<'_> {
        Metadata {
            file: &self.map.path,
            entries: &self.header.metadata,
        }
    }

    pub(super) fn config(&self) -> Result<ModelConfig, SourceError> {
        let metadata = self.metadata();
        metadata.check_family()?;
        let rope_factors = match self.header.tensors.get(names::ROPE_FACTORS) {
            None => None,
            Some(info) => {
                let expected = Expected {
                    name: names::ROPE_FACTORS.into(),
                    shape: vec![info.shape.iter().product()],
                };
                let factors = self
                    .decode(names::ROPE_FACTORS, &expected)?
                    .to_kind(Kind::Double);
                Some(Vec::<f64>::try_from(&factors)?)
            }
        };
        metadata.config(|name| self.header.tensors.contains_key(name), rope_factors)
    }

    pub(super) fn check(&self, expected: &Expected) -> Result<(), SourceError> {
        self.view(&names::to_gguf(&expected.name), expected)
            .map(drop)
    }

    /// A tensor in Hugging Face's layout. The converter interleaves the halves of each head in q and k, because
    /// llama.cpp turns neighbours where transformers turns halves; this undoes it.
    pub(super) fn tensor(
        &self,
        expected: &Expected,
        config: &ModelConfig,
    ) -> Result<Tensor, SourceError> {
        let tensor = self.decode(&names::to_gguf(&expected.name), expected)?;
        let num_heads = if expected.name.contains(".q_proj.") {
            config.num_heads
        } else if expected.name.contains(".k_proj.") {
            config.num_kv_heads
        } else {
            return Ok(tensor);
        };
        let pairs = tensor.f_view([num_heads, config.head_dim / 2, 2, -1])?;
        Ok(pairs
            .f_transpose(1, 2)?
            .f_contiguous()?
            .f_view(expected.shape.as_slice())?)
    }

    pub(super) fn tokenizer(&self) -> Result<Tokenizer, SourceError> {
        tokenizer::build(&self.metadata())
    }

    pub(super) fn hf_files(&self, config: &ModelConfig) -> Result<HfFiles, SourceError> {
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
            config: hf_config::write(config, Map::new()),
            tokenizer,
            tokenizer_config: tokenizer::tokenizer_config(&metadata, config)?,
            special_tokens_map: tokenizer::special_tokens_map(&metadata)?,
            generation_config: hf_config::generation(config),
            name: text("general.name")?,
            license: text("general.license")?,
            copies: Vec::new(),
        })
    }

    /// All metadata but what depends on how the tensors are stored.
    pub(super) fn entries(&self) -> Entries {
        let of_storage = |key: &str| {
            let keys = [
                "general.alignment",
                "general.file_type",
                "general.quantization_version",
            ];
            keys.contains(&key) || key.starts_with("split.") || key.starts_with("quantize.")
        };
        let mut entries = Entries::default();
        let values = self.header.values.iter();
        for (key, range) in values.filter(|(key, _)| !of_storage(key)) {
            entries.raw(key, self.map.bytes()[range.clone()].to_vec());
        }
        entries
    }

    /// Whether the file has a tensor, by Hugging Face's name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.header.tensors.contains_key(&names::to_gguf(name))
    }

    /// A tensor as it is in the file, in llama.cpp's order of rows.
    pub(super) fn stored(&self, expected: &Expected) -> Result<(GgmlType, &[u8]), SourceError> {
        self.view(&names::to_gguf(&expected.name), expected)
    }

    /// The divisors of the rotary frequencies as they are in the file.
    pub(super) fn rope_factors(&self) -> Result<Option<(GgmlType, &[u8])>, SourceError> {
        let Some(info) = self.header.tensors.get(names::ROPE_FACTORS) else {
            return Ok(None);
        };
        let expected = Expected {
            name: names::ROPE_FACTORS.into(),
            shape: info.shape.clone(),
        };
        self.view(names::ROPE_FACTORS, &expected).map(Some)
    }

    fn decode(&self, name: &str, expected: &Expected) -> Result<Tensor, SourceError> {
        let (encoding, bytes) = self.view(name, expected)?;
        Ok(quant::decode(encoding, bytes, &expected.shape)?)
    }

    /// The tensor's encoding and bytes, after all checks.
    fn view(&self, name: &str, expected: &Expected) -> Result<(GgmlType, &[u8]), SourceError> {
        let (file, tensor) = (|| self.map.path.clone(), || name.to_owned());
        let info: &TensorInfo =
            self.header
                .tensors
                .get(name)
                .ok_or_else(|| SourceError::MissingTensor {
                    file: file(),
                    tensor: format!("{name} ({})", expected.name),
                    expected: expected.shape.clone(),
                })?;
        let encoding = GgmlType::from_id(info.type_id).ok_or_else(|| SourceError::TensorType {
            file: file(),
            tensor: tensor(),
            found: quant::type_name(info.type_id),
            supported: quant::SUPPORTED,
        })?;
        if info.shape != expected.shape {
            return Err(SourceError::Shape {
                file: file(),
                tensor: tensor(),
                expected: expected.shape.clone(),
                found: info.shape.clone(),
            });
        }
        let row = info.shape.last().copied().unwrap_or(1) as usize;
        if !row.is_multiple_of(encoding.block_len()) {
            return Err(self.map.malformed(format!(
                "tensor {name} has rows of {row} weights, its type {} needs a multiple of {}",
                quant::type_name(info.type_id),
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
}
