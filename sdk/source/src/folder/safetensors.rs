//! Safetensors files: the header is read and checked here rather than by the `safetensors` crate,
//! whose errors name neither the tensor nor the byte at which a truncated file ends.

use std::collections::BTreeMap;
use std::path::Path;

use evopress_core::text::lfs_pointer;
use evopress_plugin::DType;
use serde::Deserialize;

use crate::error::SourceError;
use crate::mapped_file::MappedFile;
use crate::overlap::overlap;

const SUPPORTED: &str = "F32, F16, BF16";
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// One file, mapped, its header read.
pub(super) struct SafetensorsFile {
    map: MappedFile,
    data_start: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

#[derive(Deserialize)]
struct TensorInfo {
    dtype: String,
    shape: Vec<i64>,
    data_offsets: (u64, u64),
}

impl TensorInfo {
    /// The product of the extents; none where it is no number of things.
    fn numbers(&self) -> Option<u64> {
        self.shape.iter().try_fold(1_u64, |product, extent| {
            product.checked_mul(u64::try_from(*extent).ok()?)
        })
    }
}

impl SafetensorsFile {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let map = MappedFile::open(path)?;
        let bytes = map.bytes();
        if let Some(sentence) = lfs_pointer(bytes) {
            return Err(map.malformed(sentence));
        }
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(map.malformed(format!(
                "truncated: a safetensors file begins with 8 bytes of header length, this one has {}",
                bytes.len()
            )));
        };
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER_BYTES {
            return Err(map.malformed(format!(
                "not a safetensors file: header of {length} bytes, allowed: {MAX_HEADER_BYTES}"
            )));
        }
        let Some(header) = rest.get(..length as usize) else {
            return Err(map.malformed(format!(
                "truncated: header of {length} bytes, the file goes on for {}",
                rest.len()
            )));
        };
        let tensors = parse_header(header)
            .map_err(|cause| map.malformed(format!("safetensors header: {cause}")))?;
        if let Some((name, info)) = tensors.iter().find(|(_, info)| info.numbers().is_none()) {
            let what = format!(
                "tensor {name} has the shape {:?}: no file is so large",
                info.shape
            );
            return Err(map.malformed(what));
        }
        let spans = tensors
            .iter()
            .map(|(name, info)| (info.data_offsets, name.as_str()));
        if let Some((one, other)) = overlap(spans) {
            return Err(map.malformed(format!("tensors {one} and {other} share bytes")));
        }
        Ok(Self {
            data_start: 8 + length as usize,
            tensors,
            map,
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(super) fn release(&self) {
        self.map.release();
    }

    pub(super) fn path(&self) -> &Path {
        &self.map.path
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// The type and bytes of a tensor of floats that is in this file, after all checks.
    pub(super) fn floats(&self, name: &str, shape: &[i64]) -> Result<(DType, &[u8]), SourceError> {
        let info = self.info(name, shape)?;
        let dtype = match info.dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::Bf16,
            _ => return Err(self.wrong_type(name, info, SUPPORTED)),
        };
        self.check_shape(name, shape, info)?;
        Ok((dtype, self.span(name, info, dtype.size_bytes())?))
    }

    /// Shape of a tensor that is here.
    pub(super) fn shape(&self, name: &str) -> Option<&[i64]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// Type, shape and bytes of any tensor that is here; none where it is not all in the file.
    pub(super) fn raw(&self, name: &str) -> Option<(&str, &[i64], &[u8])> {
        let info = self.tensors.get(name)?;
        let (start, end) = info.data_offsets;
        let data = &self.map.bytes()[self.data_start..];
        let bytes = data.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
        Some((&info.dtype, &info.shape, bytes))
    }

    /// Type of the elements of a tensor that is here, by safetensors' name.
    pub(super) fn dtype(&self, name: &str) -> Option<&str> {
        self.tensors.get(name).map(|info| info.dtype.as_str())
    }

    /// The bytes of a tensor of one type, I64, I32, I8 or F8_E4M3, that is in this file, after all
    /// checks.
    pub(super) fn bytes(
        &self,
        name: &str,
        shape: &[i64],
        dtype: &'static str,
    ) -> Result<&[u8], SourceError> {
        let info = self.info(name, shape)?;
        if info.dtype != dtype {
            return Err(self.wrong_type(name, info, dtype));
        }
        self.check_shape(name, shape, info)?;
        let element_bytes = match dtype {
            "I64" => 8,
            "I32" => 4,
            _ => 1,
        };
        self.span(name, info, element_bytes)
    }

    fn info(&self, name: &str, shape: &[i64]) -> Result<&TensorInfo, SourceError> {
        let missing = || SourceError::MissingTensor {
            file: self.map.path.clone(),
            tensor: name.to_owned(),
            expected: shape.to_vec(),
        };
        self.tensors.get(name).ok_or_else(missing)
    }

    fn wrong_type(&self, name: &str, info: &TensorInfo, supported: &'static str) -> SourceError {
        SourceError::TensorType {
            file: self.map.path.clone(),
            tensor: name.to_owned(),
            found: info.dtype.clone(),
            supported,
        }
    }

    fn check_shape(&self, name: &str, shape: &[i64], info: &TensorInfo) -> Result<(), SourceError> {
        if info.shape == shape {
            return Ok(());
        }
        Err(SourceError::Shape {
            file: self.map.path.clone(),
            tensor: name.to_owned(),
            expected: shape.to_vec(),
            found: info.shape.clone(),
            by_default: Box::default(),
        })
    }

    /// The bytes of a tensor of the expected shape.
    fn span(
        &self,
        name: &str,
        info: &TensorInfo,
        element_bytes: usize,
    ) -> Result<&[u8], SourceError> {
        let numbers = info.numbers().unwrap_or(u64::MAX);
        let size_bytes = numbers.saturating_mul(element_bytes as u64);
        let (start, end) = info.data_offsets;
        if end.checked_sub(start) != Some(size_bytes) {
            return Err(self.map.malformed(format!(
                "tensor {name} spans bytes {start} to {end}, its {numbers} numbers of type {} need {size_bytes}",
                info.dtype
            )));
        }
        let data = &self.map.bytes()[self.data_start..];
        let bytes = usize::try_from(end)
            .ok()
            .and_then(|end| data.get(start as usize..end));
        bytes.ok_or_else(|| SourceError::Truncated {
            file: self.map.path.clone(),
            tensor: name.to_owned(),
            end: end.saturating_add(self.data_start as u64),
            size: self.map.bytes().len() as u64,
        })
    }
}

fn parse_header(header: &[u8]) -> Result<BTreeMap<String, TensorInfo>, serde_json::Error> {
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header)?;
    entries.remove("__metadata__");
    entries
        .into_iter()
        .map(|(name, info)| Ok((name, serde_json::from_value(info)?)))
        .collect()
}
