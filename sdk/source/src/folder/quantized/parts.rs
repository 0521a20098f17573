//! The tensors that stand for one weight.

use evopress_plugin::DType;
use half::{bf16, f16};

use crate::error::SourceError;
use crate::folder::weight_files::WeightFiles;

/// A linear layer in the files: `MODULE.PART`, of a weight `[rows, columns]`.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a, 'n> {
    pub(super) files: &'a WeightFiles,
    pub(super) module: &'n str,
    pub(super) rows: i64,
    pub(super) columns: i64,
}

impl<'a> Parts<'a, '_> {
    pub(super) fn has(&self, part: &str) -> bool {
        self.files.has(&self.name(part))
    }

    pub(super) fn shape(&self, part: &str) -> Option<&'a [i64]> {
        self.files.shape(&self.name(part))
    }

    pub(super) fn dtype(&self, part: &str) -> Option<&'a str> {
        self.files.dtype(&self.name(part))
    }

    /// The bytes of a part of this type and shape.
    pub(super) fn bytes(
        &self,
        part: &str,
        dtype: &'static str,
        shape: &[i64],
    ) -> Result<&'a [u8], SourceError> {
        self.files.bytes(&self.name(part), shape, dtype)
    }

    /// The 32-bit words of a part.
    pub(super) fn words(&self, part: &str, shape: &[i64]) -> Result<&'a [[u8; 4]], SourceError> {
        Ok(self.bytes(part, "I32", shape)?.as_chunks().0)
    }

    /// The numbers of a part of f32, f16 or bf16.
    pub(super) fn floats(&self, part: &str, shape: &[i64]) -> Result<Floats<'a>, SourceError> {
        let (dtype, bytes) = self.files.floats(&self.name(part), shape)?;
        Ok(match dtype {
            DType::F16 => Floats::F16(bytes.as_chunks().0),
            DType::Bf16 => Floats::Bf16(bytes.as_chunks().0),
            _ => Floats::F32(bytes.as_chunks().0),
        })
    }

    /// The shape of a part with a number for each of `rows` times `columns` cells. Extents of 1 may
    /// be left out at the end.
    pub(super) fn shape_of_cells(&self, part: &str, rows: i64, columns: i64) -> Vec<i64> {
        let whole = [rows, columns];
        let num_extents = match self.shape(part) {
            Some([]) if whole == [1, 1] => 0,
            Some([found]) if whole == [*found, 1] => 1,
            _ => 2,
        };
        whole[..num_extents].to_vec()
    }

    /// The group of each column, all below `num_groups`.
    pub(super) fn groups(&self, part: &str, num_groups: i64) -> Result<Vec<u32>, SourceError> {
        let groups = self.words(part, &[self.columns])?;
        let groups: Vec<u32> = groups
            .iter()
            .map(|word| u32::from_le_bytes(*word))
            .collect();
        match groups.iter().all(|&group| i64::from(group) < num_groups) {
            true => Ok(groups),
            false => Err(self.malformed(&format!(
                "{} names a group beyond the {num_groups} that there are",
                self.name(part)
            ))),
        }
    }

    pub(super) fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.module)
    }

    pub(super) fn malformed(&self, what: &str) -> SourceError {
        SourceError::malformed(self.files.folder(), what)
    }
}

/// Numbers of a file.
pub(super) enum Floats<'a> {
    F32(&'a [[u8; 4]]),
    F16(&'a [[u8; 2]]),
    Bf16(&'a [[u8; 2]]),
}

impl Floats<'_> {
    pub(super) fn at(&self, idx: usize) -> f32 {
        match self {
            Self::F32(words) => f32::from_le_bytes(words[idx]),
            Self::F16(words) => f16::from_le_bytes(words[idx]).to_f32(),
            Self::Bf16(words) => bf16::from_le_bytes(words[idx]).to_f32(),
        }
    }
}
