//! AWQ checkpoints of AutoAWQ's version `gemm`, four bits. For a weight `[N, K]` with G groups of
//! columns:
//!
//! | tensor | | |
//! |---|---|---|
//! | `qweight` | int32 `[K, N/8]` | a column's codes over the rows, every eight interleaved in a word |
//! | `qzeros` | int32 `[G, N/8]` | a group's zeros in the same order |
//! | `scales` | `[G, N]` | |

use serde::Deserialize;

use super::coded::{Cells, CodedWeight, Codes, Lines, Table, Words, Zero};
use super::parts::Parts;
use super::settings::Settings;
use crate::error::SourceError;

const BITS: usize = 4;

/// What `quantization_config` says.
pub(super) struct Awq {
    /// None for one group of all columns.
    group_size: Option<i64>,
    /// Whether that is so by default.
    is_default: bool,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(alias = "w_bit")]
    bits: Option<i64>,
    #[serde(alias = "q_group_size")]
    group_size: Option<i64>,
    zero_point: Option<bool>,
    #[serde(alias = "format", alias = "checkpoint_format")]
    version: Option<String>,
}

impl Awq {
    pub(super) fn parse(settings: &Settings<'_>) -> Result<Self, SourceError> {
        let raw: Raw = settings.fields()?;
        if let Some(bits) = raw.bits.filter(|&bits| bits != BITS as i64) {
            return Err(settings.unsupported("bits", &bits.to_string(), "4"));
        }
        if let Some(version) = raw.version.filter(|it| !it.eq_ignore_ascii_case("gemm")) {
            return Err(settings.unsupported("version", &version, "gemm"));
        }
        if raw.zero_point == Some(false) {
            return Err(settings.unsupported("zero_point", "false", "true"));
        }
        Ok(Self {
            is_default: raw.group_size.is_none(),
            group_size: settings.group_size(raw.group_size.or(Some(128)))?,
        })
    }

    pub(super) fn coded<'a>(
        &self,
        parts: Parts<'a, '_>,
    ) -> Result<Option<CodedWeight<'a>>, SourceError> {
        if !parts.has("qweight") {
            return Ok(None);
        }
        let (rows, columns) = (parts.rows, parts.columns);
        let group_size = self.group_size.unwrap_or(columns);
        if rows % 8 != 0 || columns % group_size != 0 {
            let default = if self.is_default { " by default" } else { "" };
            return Err(parts.malformed(&format!(
                "{} is [{rows}, {columns}] in groups of {group_size} columns{default}, expected whole groups and a multiple of 8 rows",
                parts.name("weight")
            )));
        }
        let (num_groups, num_words) = (columns / group_size, rows / 8);
        let codes = |words| {
            Codes::Words(Words {
                bits: BITS,
                words,
                strides: (1, num_words as usize),
                lines: Lines::InterleavedColumns,
            })
        };
        Ok(Some(CodedWeight {
            rows: rows as usize,
            columns: columns as usize,
            codes: codes(parts.words("qweight", &[columns, num_words])?),
            cells: Cells::blocks(1, group_size as usize, columns as usize),
            zero: Zero::OfCells(codes(parts.words("qzeros", &[num_groups, num_words])?), 0.0),
            scales: Table {
                numbers: parts.floats("scales", &[num_groups, rows])?,
                strides: (1, rows as usize),
            },
        }))
    }
}
