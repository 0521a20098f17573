//! One file of a GGUF model: its header, and its tensors after all checks.

use std::path::Path;

use evopress_plugin::GgmlType;

use super::parse::{self, Header};
use super::types;
use crate::error::SourceError;
use crate::mapped_file::MappedFile;
use crate::overlap::overlap;

/// One file, mapped, its header read.
pub(super) struct Part {
    pub(super) map: MappedFile,
    pub(super) header: Header,
}

impl Part {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let map = MappedFile::open(path)?;
        let header = parse::parse(map.bytes()).map_err(|what| map.malformed(what))?;
        let tensors = header.tensors.iter();
        let spans = tensors.filter_map(|(name, info)| Some((info.span()?, name.as_str())));
        if let Some((one, other)) = overlap(spans) {
            return Err(map.malformed(format!("tensors {one} and {other} share bytes")));
        }
        Ok(Self { map, header })
    }

    /// The type and the bytes of a tensor that is in this file, if it has this shape.
    pub(super) fn bytes(
        &self,
        name: &str,
        shape: &[i64],
    ) -> Result<(GgmlType, &[u8]), SourceError> {
        let (file, tensor) = (|| self.map.path.clone(), || name.to_owned());
        let info = self.header.tensors.get(name);
        let info = info.ok_or_else(|| SourceError::MissingTensor {
            file: file(),
            tensor: tensor(),
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
                by_default: Box::default(),
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
}
