//! The safetensors files of a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evopress_core::model_files::{INDEX, WEIGHTS, WeightIndex};
use evopress_plugin::DType;

use super::safetensors::SafetensorsFile;
use crate::error::SourceError;
use crate::tensor::StoredTensor;

/// One or several safetensors files, mapped, and which tensor is in which.
pub(super) struct WeightFiles {
    folder: PathBuf,
    files: Vec<SafetensorsFile>,
    /// Tensor name to index into `files`.
    places: BTreeMap<String, usize>,
}

impl WeightFiles {
    /// Opens the files of a folder: those of the index where there is one, which then says which
    /// file each tensor is in. What else the files hold is none of the model's.
    pub(super) fn open(folder: &Path) -> Result<Self, SourceError> {
        let index_file = folder.join(INDEX);
        let index = WeightIndex::read(folder);
        match index.map_err(|error| SourceError::of_text(error, &index_file))? {
            Some(index) => Self::open_indexed(folder, &index),
            None => Self::open_single(folder),
        }
    }

    fn open_single(folder: &Path) -> Result<Self, SourceError> {
        let path = folder.join(WEIGHTS);
        if !path.is_file() {
            return Err(SourceError::NotAModel {
                path: folder.to_path_buf(),
                found: format!("a folder without {WEIGHTS} or {INDEX}"),
            });
        }
        let file = SafetensorsFile::open(&path)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            places: file.names().map(|name| (name.to_owned(), 0)).collect(),
            files: vec![file],
        })
    }

    fn open_indexed(folder: &Path, index: &WeightIndex) -> Result<Self, SourceError> {
        let names: Vec<&str> = index.files().into_iter().collect();
        let files = names
            .iter()
            .map(|name| SafetensorsFile::open(&folder.join(name)));
        let files: Vec<SafetensorsFile> = files.collect::<Result<_, _>>()?;
        let mut places = BTreeMap::new();
        for (tensor, name) in &index.weight_map {
            let Ok(file_idx) = names.binary_search(&name.as_str()) else {
                continue; // the names are those of the map
            };
            if files[file_idx].shape(tensor).is_none() {
                let what = format!("tensor {tensor} is not in {name}, where the index has it");
                return Err(SourceError::malformed(&folder.join(INDEX), what));
            }
            places.insert(tensor.clone(), file_idx);
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

    /// The names of all tensors of the model's files.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Type, shape and bytes of any tensor of the files.
    pub(super) fn raw(&self, name: &str) -> Option<(&str, &[i64], &[u8])> {
        self.files[*self.places.get(name)?].raw(name)
    }

    /// Takes what was read out of memory.
    pub(super) fn release(&self) {
        self.files.iter().for_each(SafetensorsFile::release);
    }

    /// Bytes of all files.
    pub(super) fn size_bytes(&self) -> u64 {
        self.files.iter().map(SafetensorsFile::size_bytes).sum()
    }

    /// The file that a tensor is in.
    pub(super) fn file_of_tensor(&self, name: &str) -> Option<&Path> {
        let file = self.files.get(*self.places.get(name)?)?;
        Some(file.path())
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
