//! GPTQ checkpoints, as AutoGPTQ and GPTQModel write them. For a weight `[N, K]` of `b` bits with G
//! groups of columns:
//!
//! | tensor | | |
//! |---|---|---|
//! | `qweight` | int32 `[K·b/32, N]` | a row's codes, down a column, as one bit stream |
//! | `qzeros` | int32 `[G, N·b/32]` | a group's zeros, over the rows, as one bit stream; one less in version 1 |
//! | `scales` | `[G, N]` | |
//! | `g_idx` | int32 `[K]` | each column's group; absent where groups are in order |

use serde::Deserialize;
use serde_json::Value;

use super::coded::{Cells, CodedWeight, Codes, Lines, Table, Words, Zero};
use super::parts::Parts;
use super::settings::Settings;
use crate::error::SourceError;

/// What `quantization_config` says.
pub(super) struct Gptq {
    bits: i64,
    /// None for one group of all columns.
    group_size: Option<i64>,
    /// Whether some layers have other bits or groups.
    is_mixed: bool,
    /// Whether columns of a group need not stand together.
    act_order: bool,
    /// What is added to a zero.
    zero_offset: f32,
}

#[derive(Deserialize)]
struct Raw {
    bits: i64,
    group_size: Option<i64>,
    #[serde(alias = "format")]
    checkpoint_format: Option<String>,
    desc_act: Option<bool>,
    dynamic: Option<Value>,
}

impl Gptq {
    pub(super) fn parse(settings: &Settings<'_>) -> Result<Self, SourceError> {
        let raw: Raw = settings.fields()?;
        let format = raw.checkpoint_format.as_deref().unwrap_or("gptq");
        let zero_offset = match format {
            "gptq" => 1.0,
            "gptq_v2" => 0.0,
            _ => {
                return Err(settings.unsupported("checkpoint_format", format, "gptq, gptq_v2"));
            }
        };
        if !(1..=8).contains(&raw.bits) {
            return Err(settings.unsupported("bits", &raw.bits.to_string(), "1 to 8"));
        }
        let is_set = |value: &Value| !matches!(value, Value::Null) && *value != Value::Bool(false);
        Ok(Self {
            bits: raw.bits,
            group_size: settings.group_size(raw.group_size)?,
            is_mixed: raw.dynamic.as_ref().is_some_and(is_set),
            act_order: raw.desc_act.unwrap_or(false),
            zero_offset,
        })
    }

    pub(super) fn coded<'a>(
        &self,
        parts: Parts<'a, '_>,
    ) -> Result<Option<CodedWeight<'a>>, SourceError> {
        let Some(&[num_words, _]) = parts.shape("qweight") else {
            return Ok(None);
        };
        let (rows, columns) = (parts.rows, parts.columns);
        let bits = match self.is_mixed {
            true => num_words.saturating_mul(32) / columns,
            false => self.bits,
        };
        let in_whole_words = |count: i64| count * bits % 32 == 0;
        if !(1..=8).contains(&bits) || !in_whole_words(rows) || !in_whole_words(columns) {
            return Err(parts.malformed(&format!(
                "{} has {bits} bits for {columns} inputs and {rows} outputs, expected 1 to 8, and both in whole words of 32",
                parts.name("qweight")
            )));
        }
        let num_groups = self.num_groups(&parts)?;
        let of_columns = match self.act_order || parts.has("g_idx") {
            true => parts.groups("g_idx", num_groups)?,
            false => {
                let group_size = (columns as u64).div_ceil(num_groups as u64);
                (0..columns as u64)
                    .map(|column| (column / group_size) as u32)
                    .collect()
            }
        };
        let words_of_zeros = rows * bits / 32;
        let words = |words, strides, lines| Words {
            bits: bits as usize,
            words,
            strides,
            lines,
        };
        let codes = parts.words("qweight", &[columns * bits / 32, rows])?;
        let zeros = parts.words("qzeros", &[num_groups, words_of_zeros])?;
        let rows = rows as usize;
        Ok(Some(CodedWeight {
            rows,
            columns: columns as usize,
            codes: Codes::Words(words(codes, (rows, 1), Lines::Rows)),
            cells: Cells {
                row_block: 1,
                of_columns,
                num_columns: num_groups as usize,
            },
            zero: Zero::OfCells(
                Codes::Words(words(zeros, (1, words_of_zeros as usize), Lines::Columns)),
                self.zero_offset,
            ),
            scales: Table {
                numbers: parts.floats("scales", &[num_groups, parts.rows])?,
                strides: (1, rows),
            },
        }))
    }

    fn num_groups(&self, parts: &Parts<'_, '_>) -> Result<i64, SourceError> {
        let found = match parts.shape("scales") {
            Some(&[groups, _]) if (1..=parts.columns).contains(&groups) => groups,
            _ => 1,
        };
        let group_size = self.group_size.unwrap_or(parts.columns);
        let expected = (parts.columns as u64).div_ceil(group_size as u64) as i64;
        Ok(match self.is_mixed {
            true => found,
            false => expected,
        })
    }
}
