//! For tests: where they find their models, and GGUF files to write right or wrong.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::SourceError;
use crate::families;
use crate::folder::ModelFolder;
use crate::source::Source;
use crate::spec::ModelSpec;

/// `tests/fixtures` of the repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// The demo's model, which `make test` fetches as the other real models.
///
/// # Panics
/// When it is not there.
pub fn smollm2() -> PathBuf {
    model("SmolLM2-135M-Instruct.gguf")
}

/// Gemma 3 270M.
///
/// # Panics
/// When it is not there.
pub fn gemma3() -> PathBuf {
    model("gemma-3-270m.gguf")
}

/// Qwen2.5-Coder-0.5B-Instruct.
///
/// # Panics
/// When it is not there.
pub fn qwen2_coder() -> PathBuf {
    model("Qwen2.5-Coder-0.5B-Instruct.gguf")
}

/// What `config.json` of a folder says of its model, whatever tensors its weights have. The folder
/// may be one that the project has written.
///
/// # Errors
/// When a file cannot be read, or the model is not one that is computed here.
pub fn spec_of_folder(folder: &Path) -> Result<ModelSpec, SourceError> {
    let folder = ModelFolder::open_artifact(folder)?;
    let whole = folder.spec()?;
    Ok(match folder.reduced() {
        Some(reduced) => reduced.of(whole),
        None => whole,
    })
}

/// `config.json` of a folder that is made of a model, whether or not it has a tokenizer.
pub fn config_of(source: &Source) -> Map<String, Value> {
    families::to_config(source.family, source.spec(), Map::new())
}

fn model(name: &str) -> PathBuf {
    let file = data_folder().join("models").join(name);
    assert!(
        file.is_file(),
        "{} is missing: run `make test` once, or set EVOPRESS_DATA",
        file.display()
    );
    file
}

fn data_folder() -> PathBuf {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("EVOPRESS_DATA").unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME")
            .or_else(|| Some(variable("HOME")?.join(".cache")))
            .unwrap_or_default();
        cache.join("evopress/data")
    })
}

/// A GGUF file to write, field by field, right or wrong.
pub struct GgufBuilder {
    version: u32,
    entries: Vec<Vec<u8>>,
    infos: Vec<Vec<u8>>,
    data: Vec<u8>,
}

impl Default for GgufBuilder {
    fn default() -> Self {
        Self {
            version: 3,
            entries: Vec::new(),
            infos: Vec::new(),
            data: Vec::new(),
        }
    }
}

impl GgufBuilder {
    /// An empty file of version 3.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another version of the format.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// A metadata entry of any type, by ggml's number of it.
    pub fn entry(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        self.entries
            .push([&text(key), &type_id.to_le_bytes()[..], value].concat());
        self
    }

    /// A metadata entry: a 32-bit unsigned number.
    pub fn number(self, key: &str, value: u32) -> Self {
        self.entry(key, 4, &value.to_le_bytes())
    }

    /// A metadata entry: a 32-bit float.
    pub fn float(self, key: &str, value: f32) -> Self {
        self.entry(key, 6, &value.to_le_bytes())
    }

    /// A metadata entry: a text.
    pub fn string(self, key: &str, value: &str) -> Self {
        self.entry(key, 8, &text(value))
    }

    /// A tensor of zeros; `shape` is row-major, `type_id` ggml's number of its type.
    pub fn tensor(mut self, name: &str, shape: &[u64], type_id: u32, size_bytes: usize) -> Self {
        let mut info = text(name);
        info.extend((shape.len() as u32).to_le_bytes());
        shape
            .iter()
            .rev()
            .for_each(|extent| info.extend(extent.to_le_bytes()));
        info.extend(type_id.to_le_bytes());
        info.extend((self.data.len() as u64).to_le_bytes());
        self.infos.push(info);
        self.data
            .resize((self.data.len() + size_bytes).next_multiple_of(32), 0);
        self
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.infos.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        bytes.extend(self.entries.concat());
        bytes.extend(self.infos.concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
