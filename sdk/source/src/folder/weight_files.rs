//! The safetensors files of a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evopress_plugin::DType;
use serde::Deserialize;

use super::safetensors::SafetensorsFile;
use super::text;
use crate::error::SourceError;
use crate::tensor::StoredTensor;

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// One or several safetensors files, mapped, and which tensor is in which.
pub(super) struct WeightFiles {
    folder: PathBuf,
    files: Vec<SafetensorsFile>,
    /// Tensor name to index into `files`.
    places: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    pub(super) fn open(folder: &Path) -> Result<Self, SourceError> {
        let mut files: Vec<SafetensorsFile> = Vec::new();
        let mut places = BTreeMap::new();
        for path in paths(folder)? {
            let file = SafetensorsFile::open(&path)?;
            for name in file.names() {
                if let Some(other) = places.insert(name.to_owned(), files.len()) {
                    let other = files[other].path().display();
                    let what = format!("tensor {name} is also in {other}");
                    return Err(SourceError::malformed(&path, what));
                }
            }
            files.push(file);
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            files,
            places,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(SafetensorsFile::path)
    }

    /// Bytes of all files.
    pub(super) fn size_bytes(&self) -> u64 {
        self.files.iter().map(SafetensorsFile::size_bytes).sum()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Shape of any tensor of the files.
    pub(super) fn shape(&self, name: &str) -> Option<&[i64]> {
        self.files[*self.places.get(name)?].shape(name)
    }

    /// Type of the elements of any tensor of the files, by safetensors' name.
    pub(super) fn dtype(&self, name: &str) -> Option<&str> {
        self.files[*self.places.get(name)?].dtype(name)
    }

    /// A tensor of floats, after all checks.
    pub(super) fn tensor(
        &self,
        name: &str,
        shape: &[i64],
    ) -> Result<StoredTensor<'_>, SourceError> {
        let (dtype, bytes) = self.floats(name, shape)?;
        Ok(StoredTensor::plain(dtype, shape, bytes))
    }

    /// The type and bytes of a tensor of floats, after all checks.
    pub(super) fn floats(&self, name: &str, shape: &[i64]) -> Result<(DType, &[u8]), SourceError> {
        self.file_of(name, shape)?.floats(name, shape)
    }

    /// The bytes of a tensor of type I64, I32, I8 or F8_E4M3, after all checks.
    pub(super) fn bytes(
        &self,
        name: &str,
        shape: &[i64],
        dtype: &'static str,
    ) -> Result<&[u8], SourceError> {
        self.file_of(name, shape)?.bytes(name, shape, dtype)
    }

    fn file_of(&self, name: &str, shape: &[i64]) -> Result<&SafetensorsFile, SourceError> {
        match self.places.get(name) {
            Some(&idx) => Ok(&self.files[idx]),
            None => Err(SourceError::MissingTensor {
                file: self.folder.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
            }),
        }
    }
}

/// The safetensors files of a folder: those of the index where there is one.
fn paths(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
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
    let index: Index = serde_json::from_str(&text::read(&index_file)?)
        .map_err(|cause| SourceError::malformed(&index_file, cause.to_string()))?;
    let mut names: Vec<_> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    for name in &names {
        // A name with a path in it could read any file of the machine.
        if Path::new(name)
            .file_name()
            .is_none_or(|file_name| file_name != name.as_str())
        {
            return Err(SourceError::malformed(
                &index_file,
                format!("{name:?} is not the name of a file in the same folder"),
            ));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}
