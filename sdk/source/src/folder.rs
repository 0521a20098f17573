//! Hugging Face folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use tch::Tensor;
use tokenizers::Tokenizer;

use super::SourceError;
use super::config::{Expected, ModelConfig};
use super::hf_config;
use super::hf_files::HfFiles;
use super::nemotron_nas;
use super::packed::Packed;
use super::reduced::Reduced;
use super::safetensors::SafetensorsFile;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// A folder with config.json, tokenizer.json and one or several safetensors files.
pub(super) struct Folder {
    path: PathBuf,
    config_text: String,
    config: Map<String, Value>,
    shards: Vec<SafetensorsFile>,
    /// Tensor name to index into `shards`.
    places: BTreeMap<String, usize>,
    /// How linear weights are packed that are not there as they are.
    packed: Option<Packed>,
    /// What there is of its blocks, where they differ.
    pub(super) reduced: Option<Reduced>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Turns a config into that of a family that is read, where it knows how; then what the folder has less of.
type Adapt = fn(&mut Map<String, Value>, &Path) -> Result<Option<Reduced>, SourceError>;

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        Self::open_with(path, |_, _| Ok(None))
    }

    /// Opens a folder whose config `adapt` may turn into that of a family that is read.
    fn open_with(path: &Path, adapt: Adapt) -> Result<Self, SourceError> {
        if !path.join("config.json").is_file() {
            return Err(SourceError::NotAModel {
                path: path.to_path_buf(),
                found: "a folder without config.json".into(),
            });
        }
        let config_file = path.join("config.json");
        let mut config_text = read_text(&config_file)?;
        let mut config = parse_map(&config_text, &config_file)?;
        let reduced = adapt(&mut config, &config_file)?;
        if reduced.is_some() {
            config_text = Value::Object(config.clone()).to_string();
        }
        // The family comes first: a folder of another one may have no safetensors files at all.
        hf_config::check_family(&config, &config_file)?;
        let mut shards = Vec::new();
        let mut places = BTreeMap::new();
        for file in weight_files(path)? {
            let shard = SafetensorsFile::open(&file)?;
            for name in shard.names() {
                if let Some(other) = places.insert(name.to_owned(), shards.len()) {
                    let other: &SafetensorsFile = &shards[other];
                    return Err(malformed(
                        &file,
                        format!("tensor {name} is also in {}", other.path().display()),
                    ));
                }
            }
            shards.push(shard);
        }
        Ok(Self {
            path: path.to_path_buf(),
            config_text,
            config,
            shards,
            places,
            packed: None,
            reduced,
        })
    }

    /// The same for a folder whose linear layers may be packed as `export::packed` writes them, or whose blocks may lack a half.
    pub(super) fn open_artifact(path: &Path) -> Result<Self, SourceError> {
        let mut folder = Self::open_with(path, |config, file| {
            let is_reduced =
                config.get("model_type").and_then(Value::as_str) == Some(nemotron_nas::MODEL_TYPE);
            is_reduced
                .then(|| nemotron_nas::as_llama(config, file))
                .transpose()
        })?;
        if let Some(quantization) = folder.config.shift_remove("quantization_config") {
            let config_file = path.join("config.json");
            folder.packed = Some(Packed::parse(quantization, &config_file)?);
            folder.config_text = Value::Object(folder.config.clone()).to_string();
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn config(&self) -> Result<ModelConfig, SourceError> {
        hf_config::parse(&self.config_text, &self.path.join("config.json"))
    }

    pub(super) fn check(&self, expected: &Expected) -> Result<(), SourceError> {
        if self.unpack(expected, Packed::check)?.is_some() {
            return Ok(());
        }
        match self.shard(expected)?.check(expected)? {
            true => Ok(()),
            false => Err(self.missing(expected)),
        }
    }

    pub(super) fn tensor(&self, expected: &Expected) -> Result<Tensor, SourceError> {
        if let Some(weight) = self.unpack(expected, Packed::tensor)? {
            return Ok(weight);
        }
        self.shard(expected)?
            .tensor(expected)?
            .ok_or_else(|| self.missing(expected))
    }

    /// What `read` makes of a weight that is not there as it is but packed.
    fn unpack<T>(
        &self,
        expected: &Expected,
        read: fn(&Packed, &Self, &Expected) -> Result<Option<T>, SourceError>,
    ) -> Result<Option<T>, SourceError> {
        match &self.packed {
            Some(packed) if !self.places.contains_key(&expected.name) => {
                read(packed, self, expected)
            }
            _ => Ok(None),
        }
    }

    /// Whether the files have a tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Shape of any tensor of the files.
    pub(super) fn shape(&self, name: &str) -> Option<&[i64]> {
        self.shards[*self.places.get(name)?].shape(name)
    }

    /// The bytes of a tensor of type I32, I64 or F16.
    pub(super) fn bytes(
        &self,
        expected: &Expected,
        dtype: &'static str,
    ) -> Result<&[u8], SourceError> {
        let bytes = self.shard(expected)?.bytes(expected, dtype)?;
        bytes.ok_or_else(|| self.missing(expected))
    }

    fn shard(&self, expected: &Expected) -> Result<&SafetensorsFile, SourceError> {
        match self.places.get(&expected.name) {
            Some(&shard_idx) => Ok(&self.shards[shard_idx]),
            None => Err(self.missing(expected)),
        }
    }

    fn missing(&self, expected: &Expected) -> SourceError {
        SourceError::MissingTensor {
            file: self.path.clone(),
            tensor: expected.name.clone(),
            expected: expected.shape.clone(),
        }
    }

    pub(super) fn tokenizer(&self) -> Result<Tokenizer, SourceError> {
        let file = self.path.join("tokenizer.json");
        let text = read_text(&file)?;
        text.parse()
            .map_err(|cause: tokenizers::Error| SourceError::Tokenizer {
                file,
                what: cause.to_string(),
            })
    }

    pub(super) fn hf_files(&self, config: &ModelConfig) -> Result<HfFiles, SourceError> {
        let optional = |name: &str| {
            let file = self.path.join(name);
            if file.is_file() {
                read_map(&file)
            } else {
                Ok(Map::new())
            }
        };
        let mut generation_config = optional("generation_config.json")?;
        if generation_config.is_empty() {
            generation_config = hf_config::generation(config);
        }
        let copies = ["chat_template.jinja", "LICENSE", "LICENSE.txt", "NOTICE"]
            .iter()
            .map(|name| self.path.join(name))
            .filter(|file| file.is_file())
            .collect();
        Ok(HfFiles {
            config: hf_config::write(config, self.config.clone()),
            tokenizer: read_text(&self.path.join("tokenizer.json"))?,
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
    pub(super) fn digest_files(&self) -> Vec<PathBuf> {
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
        files.extend(self.shards.iter().map(|shard| shard.path().to_path_buf()));
        files
    }
}

/// The safetensors files of a folder: those of the index where there is one.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let index_file = folder.join(INDEX);
    if !index_file.is_file() {
        let single = folder.join(SINGLE);
        if single.is_file() {
            return Ok(vec![single]);
        }
        return Err(SourceError::NotAModel {
            path: folder.to_path_buf(),
            found: format!("a folder without {SINGLE} or {INDEX}"),
        });
    }
    let index: Index = serde_json::from_str(&read_text(&index_file)?)
        .map_err(|cause| malformed(&index_file, cause.to_string()))?;
    let mut names: Vec<_> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    for name in &names {
        // A name with a path in it could read any file of the machine.
        if Path::new(name)
            .file_name()
            .is_none_or(|file_name| file_name != name.as_str())
        {
            return Err(malformed(
                &index_file,
                format!("{name:?} is not the name of a file in the same folder"),
            ));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn read_text(file: &Path) -> Result<String, SourceError> {
    std::fs::read_to_string(file).map_err(|cause| SourceError::Read {
        file: file.to_path_buf(),
        cause,
    })
}

fn read_map(file: &Path) -> Result<Map<String, Value>, SourceError> {
    parse_map(&read_text(file)?, file)
}

fn parse_map(text: &str, file: &Path) -> Result<Map<String, Value>, SourceError> {
    serde_json::from_str(text)
        .map_err(|cause| malformed(file, format!("not a JSON object: {cause}")))
}

fn malformed(file: &Path, what: String) -> SourceError {
    SourceError::Malformed {
        file: file.to_path_buf(),
        what,
    }
}
