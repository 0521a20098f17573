//! A folder with config.json, tokenizer.json and one or several safetensors files.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use super::nemotron_nas;
use super::quantized::Quantized;
use super::text;
use super::weight_files::WeightFiles;
use crate::error::SourceError;
use crate::families::{self, Family};
use crate::hf_files::HfFiles;
use crate::reduced::Reduced;
use crate::spec::{ModelSpec, TensorSpec};
use crate::tensor::StoredTensor;

/// A Hugging Face folder, open.
pub(crate) struct ModelFolder {
    path: PathBuf,
    family: &'static Family,
    config: Map<String, Value>,
    /// Whether the model is the part for texts of the one that the files hold.
    is_part: bool,
    weights: WeightFiles,
    /// How weights are quantized that are not there as they are.
    quantized: Option<Quantized>,
    /// What there is of its blocks, where they differ.
    reduced: Option<Reduced>,
}

/// Turns a configuration into that of a family where it knows how, and says what the folder's
/// blocks lack.
type Adapt = fn(&mut Map<String, Value>, &Path) -> Result<Option<Reduced>, SourceError>;

impl ModelFolder {
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        Self::open_with(path, |_, _| Ok(None))
    }

    /// Opens a folder that this project has written: blocks may lack a sub-block.
    pub(crate) fn open_artifact(path: &Path) -> Result<Self, SourceError> {
        Self::open_with(path, |config, file| {
            let is_reduced =
                config.get("model_type").and_then(Value::as_str) == Some(nemotron_nas::MODEL_TYPE);
            is_reduced
                .then(|| nemotron_nas::as_llama(config, file))
                .transpose()
        })
    }

    fn open_with(path: &Path, adapt: Adapt) -> Result<Self, SourceError> {
        let config_file = path.join("config.json");
        if !config_file.is_file() {
            return Err(SourceError::NotAModel {
                path: path.to_path_buf(),
                found: "a folder without config.json".into(),
            });
        }
        let mut config = text::read_map(&config_file)?;
        let reduced = adapt(&mut config, &config_file)?;
        let quantized = Quantized::take(&mut config, &config_file)?;
        let part = families::text_part(&config);
        let (is_part, config) = (part.is_some(), part.unwrap_or(config));
        // The family comes first: a folder of another one may have no safetensors files at all.
        let family = families::of_config(&config, &config_file)?;
        Ok(Self {
            path: path.to_path_buf(),
            family,
            config,
            is_part,
            weights: WeightFiles::open(path)?,
            quantized,
            reduced,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn family(&self) -> &'static Family {
        self.family
    }

    fn config_file(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// The model as the configuration has it, all blocks whole.
    pub(crate) fn spec(&self) -> Result<ModelSpec, SourceError> {
        families::spec_of_config(self.family, &self.config, &self.config_file())
    }

    /// What there is of the blocks, where they differ.
    pub(crate) fn reduced(&self) -> Option<&Reduced> {
        self.reduced.as_ref()
    }

    /// Whether the files have a tensor as it is.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.weights.has(&self.name_in_files(name))
    }

    /// The name that the files have for a tensor.
    fn name_in_files(&self, name: &str) -> String {
        let names = families::names_in_whole(name);
        let mut candidates = names.into_iter().filter(|_| self.is_part);
        let found = candidates.find(|it| self.weights.has(it));
        found.unwrap_or_else(|| name.to_owned())
    }

    pub(crate) fn check(&self, expected: &TensorSpec) -> Result<(), SourceError> {
        let whole = self.whole(expected);
        match self.quantized_type(expected)? {
            Some(_) => Ok(()),
            None => self.weights.tensor(&whole.name, &whole.shape).map(drop),
        }
    }

    pub(crate) fn tensor(&self, expected: &TensorSpec) -> Result<StoredTensor<'_>, SourceError> {
        let whole = self.whole(expected);
        let (name, shape) = (&whole.name, &whole.shape);
        let quantized = match &self.quantized {
            Some(quantized) => quantized.tensor(&self.weights, name, shape)?,
            None => None,
        };
        let tensor = match quantized {
            Some(weight) => weight,
            None => self.weights.tensor(name, shape)?,
        };
        Ok(match &expected.stored {
            Some(stored) => tensor.rows(stored, &expected.shape),
            None => tensor,
        })
    }

    /// The tensor of the files that an expected one is, or lies in.
    fn whole(&self, expected: &TensorSpec) -> TensorSpec {
        let shape = expected.stored.as_ref().map(|stored| &stored.shape);
        TensorSpec {
            name: self.name_in_files(expected.name_in_files()),
            shape: shape.unwrap_or(&expected.shape).clone(),
            part: expected.part,
            stored: None,
        }
    }

    /// The method that `quantization_config` names.
    pub(crate) fn quantization_method(&self) -> Option<&str> {
        self.quantized.as_ref().map(Quantized::method)
    }

    /// What the codes of a weight are, if it is quantized.
    pub(crate) fn quantized_type(
        &self,
        weight: &TensorSpec,
    ) -> Result<Option<String>, SourceError> {
        let whole = self.whole(weight);
        match &self.quantized {
            Some(quantized) => quantized.type_of(&self.weights, &whole.name, &whole.shape),
            None => Ok(None),
        }
    }

    /// Bytes of the files with the weights.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.weights.size_bytes()
    }

    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, SourceError> {
        let file = self.path.join("tokenizer.json");
        let text = text::read(&file)?;
        text.parse()
            .map_err(|cause: tokenizers::Error| SourceError::Tokenizer {
                file,
                what: cause.to_string(),
            })
    }

    /// What the folder holds beside the weights; `spec` is of the whole model.
    pub(crate) fn hf_files(&self, spec: &ModelSpec) -> Result<HfFiles, SourceError> {
        let optional = |name: &str| {
            let file = self.path.join(name);
            if file.is_file() {
                text::read_map(&file)
            } else {
                Ok(Map::new())
            }
        };
        let mut generation_config = optional("generation_config.json")?;
        if generation_config.is_empty() {
            generation_config = families::generation_config(spec);
        }
        let copies = ["chat_template.jinja", "LICENSE", "LICENSE.txt", "NOTICE"]
            .iter()
            .map(|name| self.path.join(name))
            .filter(|file| file.is_file())
            .collect();
        Ok(HfFiles {
            config: families::to_config(self.family, spec, self.config.clone()),
            tokenizer: text::read(&self.path.join("tokenizer.json"))?,
            tokenizer_config: optional("tokenizer_config.json")?,
            special_tokens_map: optional("special_tokens_map.json")?,
            generation_config,
            name: self
                .config
                .get("_name_or_path")
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty())
                .map(Into::into),
            license: None,
            copies,
        })
    }

    /// All that an artifact of this model depends on.
    pub(crate) fn digest_files(&self) -> Vec<PathBuf> {
        let small = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "generation_config.json",
            "chat_template.jinja",
        ];
        let mut files: Vec<PathBuf> = small.iter().map(|name| self.path.join(name)).collect();
        files.retain(|file| file.is_file());
        files.extend(self.weights.paths().map(Path::to_path_buf));
        files
    }
}
