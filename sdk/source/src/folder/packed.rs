//! Linear weights that a folder has packed: as compressed-tensors' `pack-quantized` or as a GPTQ
//! checkpoint, in the forms that this project writes.
//!
//! The layouts are read here without a line of the code that writes them, so that an artifact that
//! is read again is checked against the formats and not against its writer.

use std::collections::HashMap;
use std::path::Path;

use evopress_core::json;
use evopress_plugin::DType;
use half::f16;
use serde::Deserialize;
use serde_json::Value;

use super::weight_files::WeightFiles;
use crate::error::SourceError;
use crate::spec::TensorSpec;
use crate::tensor::StoredTensor;

/// A folder's `quantization_config`.
#[derive(Deserialize)]
#[serde(tag = "quant_method")]
pub(super) enum Packed {
    #[serde(rename = "compressed-tensors")]
    CompressedTensors {
        config_groups: HashMap<String, Group>,
    },
    #[serde(rename = "gptq")]
    Gptq { checkpoint_format: GptqVersion },
}

/// compressed-tensors' layers of one grid.
#[derive(Deserialize)]
pub(super) struct Group {
    /// Names of modules.
    targets: Vec<String>,
    weights: Grid,
}

#[derive(Deserialize)]
struct Grid {
    num_bits: u32,
    group_size: Option<i64>,
    symmetric: bool,
}

#[derive(Deserialize, PartialEq)]
pub(super) enum GptqVersion {
    #[serde(rename = "gptq")]
    One,
    #[serde(rename = "gptq_v2")]
    Two,
}

impl Packed {
    pub(super) fn parse(config: Value, file: &Path) -> Result<Self, SourceError> {
        let config = config.as_object().cloned().unwrap_or_default();
        json::fields_of(&config)
            .map_err(|what| SourceError::malformed(file, format!("quantization_config: {what}")))
    }

    /// Whether a weight is packed, with all its parts in the shapes that they must have.
    pub(super) fn check(
        &self,
        files: &WeightFiles,
        weight: &TensorSpec,
    ) -> Result<Option<()>, SourceError> {
        Ok(self.codes(files, weight)?.map(drop))
    }

    /// A packed weight in f32; `None` where it is not packed.
    pub(super) fn tensor(
        &self,
        files: &WeightFiles,
        weight: &TensorSpec,
    ) -> Result<Option<StoredTensor<'static>>, SourceError> {
        let codes = self.codes(files, weight)?;
        Ok(codes.map(|codes| StoredTensor::owned(DType::F32, &weight.shape, codes.decode())))
    }

    fn codes<'a>(
        &self,
        files: &'a WeightFiles,
        weight: &TensorSpec,
    ) -> Result<Option<Codes<'a>>, SourceError> {
        let (Some(module), &[rows, columns]) =
            (weight.name.strip_suffix(".weight"), &weight.shape[..])
        else {
            return Ok(None);
        };
        match self {
            Packed::CompressedTensors { config_groups } => {
                let group = config_groups
                    .values()
                    .find(|group| group.targets.iter().any(|target| target == module));
                group
                    .map(|group| pack_quantized(files, module, rows, columns, &group.weights))
                    .transpose()
            }
            Packed::Gptq { checkpoint_format } => {
                gptq(files, module, rows, columns, checkpoint_format)
            }
        }
    }
}

/// A weight's codes, zeros and scales, each at a place that a function of row and column (or group)
/// tells.
struct Codes<'a> {
    rows: usize,
    columns: usize,
    groups: Vec<usize>,
    code: Stream<'a>,
    /// None where all zeros are `2^(bits − 1)`.
    zero: Option<Stream<'a>>,
    /// What is to be added to a zero.
    zero_offset: u32,
    scale: Box<dyn Fn(usize, usize) -> f32 + 'a>,
}

/// Numbers of `bits` bits in little-endian int32 words: number `i` of line `l` begins at bit
/// `i · bits` of that line's words.
struct Stream<'a> {
    bits: usize,
    words: &'a [[u8; 4]],
    /// Words from one to the next of a line, and from line to line.
    strides: (usize, usize),
}

impl Stream<'_> {
    fn number(&self, line: usize, idx: usize) -> u32 {
        let word = |at: usize| {
            let place = at * self.strides.0 + line * self.strides.1;
            u64::from(u32::from_le_bytes(self.words[place]))
        };
        let (at, shift) = (idx * self.bits / 32, idx * self.bits % 32);
        let mut window = word(at);
        if shift + self.bits > 32 {
            window |= word(at + 1) << 32;
        }
        (window >> shift) as u32 & ((1 << self.bits) - 1)
    }
}

impl Codes<'_> {
    /// The weight, little-endian f32.
    fn decode(&self) -> Vec<u8> {
        let middle = 1_u32 << (self.code.bits - 1);
        let mut weight = Vec::with_capacity(self.rows * self.columns * size_of::<f32>());
        for row in 0..self.rows {
            for (column, &group) in self.groups.iter().enumerate() {
                let zero = match &self.zero {
                    Some(zeros) => zeros.number(group, row) + self.zero_offset,
                    None => middle,
                };
                let code = self.code.number(row, column);
                let number = (code as f32 - zero as f32) * (self.scale)(row, group);
                weight.extend(number.to_le_bytes());
            }
        }
        weight
    }
}

fn pack_quantized<'a>(
    files: &'a WeightFiles,
    module: &str,
    rows: i64,
    columns: i64,
    grid: &Grid,
) -> Result<Codes<'a>, SourceError> {
    let bits = i64::from(grid.num_bits);
    let group_size = grid.group_size.filter(|&size| size > 0).unwrap_or(columns);
    if !(1..=8).contains(&bits) || columns % group_size != 0 {
        return Err(malformed(
            files,
            format!(
                "{module} has {bits} bits in groups of {group_size} of {columns} columns, expected 1 to 8 in whole groups"
            ),
        ));
    }
    let groups = (columns / group_size) as usize;
    let num_words = |count: i64| (count * bits).div_euclid(32) + i64::from(count * bits % 32 != 0);
    let part = |name: &str, dtype, shape: &[i64]| part(files, module, name, dtype, shape);
    let shape = part("weight_shape", "I64", &[2])?;
    if shape != [rows, columns].map(i64::to_le_bytes).concat() {
        return Err(malformed(
            files,
            format!("weight_shape of {module} is not [{rows}, {columns}]"),
        ));
    }
    let packed = part("weight_packed", "I32", &[rows, num_words(columns)])?;
    let scales = part("weight_scale", "F16", &[rows, groups as i64])?;
    let zeros = match grid.symmetric {
        true => None,
        false => {
            let shape = [num_words(rows), groups as i64];
            Some(part("weight_zero_point", "I32", &shape)?)
        }
    };
    Ok(Codes {
        rows: rows as usize,
        columns: columns as usize,
        groups: (0..columns)
            .map(|column| (column / group_size) as usize)
            .collect(),
        code: Stream {
            bits: bits as usize,
            words: packed.as_chunks().0,
            strides: (1, num_words(columns) as usize),
        },
        zero: zeros.map(|zeros| Stream {
            bits: bits as usize,
            words: zeros.as_chunks().0,
            strides: (groups, 1),
        }),
        zero_offset: 0,
        scale: Box::new(move |row, group| float(scales, row * groups + group)),
    })
}

fn gptq<'a>(
    files: &'a WeightFiles,
    module: &str,
    rows: i64,
    columns: i64,
    version: &GptqVersion,
) -> Result<Option<Codes<'a>>, SourceError> {
    let shape_of = |name: &str| files.shape(&format!("{module}.{name}"));
    let (Some(&[num_words, _]), Some(&[groups, _])) = (shape_of("qweight"), shape_of("scales"))
    else {
        return Ok(None);
    };
    let bits = num_words.saturating_mul(32) / columns;
    if !(1..=8).contains(&bits) || bits * columns != num_words * 32 || bits * rows % 32 != 0 {
        return Err(malformed(
            files,
            format!(
                "{module}.qweight has {num_words} rows, expected whole bits for {columns} inputs"
            ),
        ));
    }
    let part = |name: &str, dtype, shape: &[i64]| part(files, module, name, dtype, shape);
    let qweight = part("qweight", "I32", &[num_words, rows])?;
    let qzeros = part("qzeros", "I32", &[groups, rows * bits / 32])?;
    let scales = part("scales", "F16", &[groups, rows])?;
    let g_idx = part("g_idx", "I32", &[columns])?;
    let of_columns: Vec<usize> = g_idx
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| i32::from_le_bytes(*word) as usize)
        .collect();
    if of_columns.iter().any(|&group| group >= groups as usize) {
        return Err(malformed(
            files,
            format!("{module}.g_idx names a group beyond the {groups} that there are"),
        ));
    }
    let rows = rows as usize;
    Ok(Some(Codes {
        rows,
        columns: columns as usize,
        groups: of_columns,
        code: Stream {
            bits: bits as usize,
            words: qweight.as_chunks().0,
            strides: (rows, 1),
        },
        zero: Some(Stream {
            bits: bits as usize,
            words: qzeros.as_chunks().0,
            strides: (1, rows * bits as usize / 32),
        }),
        zero_offset: u32::from(*version == GptqVersion::One),
        scale: Box::new(move |row, group| float(scales, group * rows + row)),
    }))
}

fn part<'a>(
    files: &'a WeightFiles,
    module: &str,
    name: &str,
    dtype: &'static str,
    shape: &[i64],
) -> Result<&'a [u8], SourceError> {
    files.bytes(&format!("{module}.{name}"), shape, dtype)
}

fn float(bytes: &[u8], idx: usize) -> f32 {
    f16::from_le_bytes([bytes[2 * idx], bytes[2 * idx + 1]]).to_f32()
}

fn malformed(files: &WeightFiles, what: String) -> SourceError {
    SourceError::malformed(files.folder(), what)
}
