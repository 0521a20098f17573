//! A GGUF model: one file, or the parts of a split one.

use std::collections::HashMap;
use std::path::Path;

use evopress_plugin::GgmlType;
use serde_json::{Map, Value as Json};
use tokenizers::Tokenizer;

use super::deci;
use super::entries::Entries;
use super::metadata::Metadata;
use super::names::{ROPE_FACTORS, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT};
use super::part::Part;
use super::{split, tokenizer};
use crate::bos::{self, BosRule};
use crate::error::SourceError;
use crate::hf_files::HfFiles;
use crate::reduced::Reduced;
use crate::spec::ModelSpec;
use crate::tokenizer::guarded;

/// Divisors of the rotary frequencies that a file has as tensors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RopeFactors {
    None,
    /// For sequences of all lengths.
    One(Vec<f64>),
    /// For sequences within the original context, and for longer ones.
    ShortAndLong(Vec<f64>, Vec<f64>),
}

/// A GGUF model, its files mapped, their headers read.
pub(crate) struct GgufFile {
    /// The first has the metadata; there are several where the model is split.
    parts: Vec<Part>,
    /// What there is of its blocks, where they differ.
    reduced: Option<Reduced>,
}

impl GgufFile {
    /// Opens a model by its file, or by the first of its files.
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        let parts = split::open(path)?;
        let mut names = HashMap::new();
        for part in &parts {
            let file = part.map.path.as_path();
            for name in part.header.tensors.keys() {
                if let Some(other) = names.insert(name.as_str(), file) {
                    let what = format!("tensor {name} is also in {}", other.display());
                    return Err(part.map.malformed(what));
                }
            }
        }
        Ok(Self {
            parts,
            reduced: None,
        })
    }

    /// Opens a file that this project has written: blocks may lack a sub-block.
    pub(crate) fn open_artifact(path: &Path) -> Result<Self, SourceError> {
        let mut gguf = Self::open(path)?;
        if gguf.metadata().optional_str("general.architecture")? == Some(deci::ARCHITECTURE) {
            let first = &mut gguf.parts[0];
            let reduced = deci::as_llama(&mut first.header.metadata);
            gguf.reduced = Some(reduced.map_err(|what| first.map.malformed(what))?);
        }
        Ok(gguf)
    }

    fn first(&self) -> &Part {
        &self.parts[0]
    }

    pub(crate) fn path(&self) -> &Path {
        &self.first().map.path
    }

    /// All files of the model.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|part| part.map.path.as_path())
    }

    /// Takes what was read out of memory.
    pub(crate) fn release(&self) {
        self.parts.iter().for_each(|part| part.map.release());
    }

    /// Bytes of all files of the model.
    pub(crate) fn size_bytes(&self) -> u64 {
        let sizes = self.parts.iter().map(|part| part.map.bytes().len() as u64);
        sizes.sum()
    }

    pub(crate) fn metadata(&self) -> Metadata<'_> {
        let first = self.first();
        Metadata {
            file: &first.map.path,
            entries: &first.header.metadata,
        }
    }

    /// What there is of the blocks, where they differ.
    pub(crate) fn reduced(&self) -> Option<&Reduced> {
        self.reduced.as_ref()
    }

    /// Whether a file has a tensor, by its name there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.part_of(name).is_some()
    }

    /// The names of all tensors there.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let parts = self.parts.iter();
        parts.flat_map(|part| part.header.tensors.keys().map(String::as_str))
    }

    /// A tensor as it is in the file, in llama.cpp's order of rows, after all checks: its type and
    /// its bytes. `meaning` is Hugging Face's name of it.
    pub(crate) fn bytes(
        &self,
        name: &str,
        meaning: &str,
        shape: &[i64],
    ) -> Result<(GgmlType, &[u8]), SourceError> {
        let part = self.part_of(name);
        let part = part.ok_or_else(|| SourceError::MissingTensor {
            file: self.path().to_path_buf(),
            tensor: format!("{name} ({meaning})"),
            expected: shape.to_vec(),
        })?;
        part.bytes(name, shape)
    }

    /// The file that a tensor is in, by its name there; of one that is in none, the first.
    pub(crate) fn file_of(&self, name: &str) -> &Path {
        let part = self.part_of(name).unwrap_or_else(|| self.first());
        &part.map.path
    }

    fn part_of(&self, name: &str) -> Option<&Part> {
        let mut parts = self.parts.iter();
        parts.find(|part| part.header.tensors.contains_key(name))
    }

    /// Divisors of rotary frequencies as they are in the file, by their name there: their type and
    /// bytes.
    pub(crate) fn rope_factor_bytes(
        &self,
        name: &str,
    ) -> Result<Option<(GgmlType, &[u8])>, SourceError> {
        let Some(part) = self.part_of(name) else {
            return Ok(None);
        };
        let shape = &part.header.tensors[name].shape;
        part.bytes(name, shape).map(Some)
    }

    /// The divisors of the rotary frequencies.
    pub(crate) fn rope_factors(&self) -> Result<RopeFactors, SourceError> {
        let read = |name: &str| -> Result<Option<Vec<f64>>, SourceError> {
            let Some((ggml_type, bytes)) = self.rope_factor_bytes(name)? else {
                return Ok(None);
            };
            let count = bytes.len() / ggml_type.block_bytes() * ggml_type.block_len();
            let mut factors = vec![0.0; count];
            ggml_type.dequantize(bytes, &mut factors);
            Ok(Some(factors.into_iter().map(f64::from).collect()))
        };
        match (
            read(ROPE_FACTORS)?,
            read(ROPE_FACTORS_SHORT)?,
            read(ROPE_FACTORS_LONG)?,
        ) {
            (None, None, None) => Ok(RopeFactors::None),
            (Some(factors), None, None) => Ok(RopeFactors::One(factors)),
            (None, Some(short), Some(long)) => Ok(RopeFactors::ShortAndLong(short, long)),
            _ => Err(self.metadata().malformed(format!(
                "expected {ROPE_FACTORS} alone, or {ROPE_FACTORS_SHORT} and {ROPE_FACTORS_LONG}"
            ))),
        }
    }

    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, SourceError> {
        tokenizer::build(&self.metadata())
    }

    /// How sequences begin.
    pub(crate) fn bos_rule(
        &self,
        tokenizer: &Tokenizer,
        bos_token_id: Option<u32>,
    ) -> Result<BosRule, SourceError> {
        let metadata = self.metadata();
        let has_key = metadata.optional_bool("tokenizer.ggml.add_bos_token")?;
        bos::of_gguf(tokenizer, has_key.is_some(), bos_token_id)
            .map_err(|what| metadata.tokenizer(what))
    }

    /// What a Hugging Face folder of the model holds beside the weights, with these configurations.
    pub(crate) fn hf_files(
        &self,
        spec: &ModelSpec,
        tokenizer: &Tokenizer,
        config: Map<String, Json>,
        generation_config: Map<String, Json>,
    ) -> Result<HfFiles, SourceError> {
        let metadata = self.metadata();
        let written =
            guarded(|| tokenizer.to_string(false)).map_err(|what| metadata.tokenizer(what))?;
        let written = written.map_err(|cause| metadata.tokenizer(cause.to_string()))?;
        let text = |key: &str| {
            metadata
                .optional_str(key)
                .map(|text| text.map(str::to_owned))
        };
        Ok(HfFiles {
            config,
            tokenizer: written,
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
        let first = self.first();
        let values = first.header.values.iter();
        for (key, range) in values.filter(|(key, _)| !of_storage(key) && !is_no_token(key)) {
            entries.raw(key, first.map.bytes()[range.clone()].to_vec());
        }
        entries
    }
}
