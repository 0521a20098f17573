//! Weights as floats of eight bits beside scales that they are multiplied with: DeepSeek's layout
//! with a scale for each block (`weight_scale_inv`, which is no inverse), AutoFP8's with one for
//! each weight (`weight_scale`) and FBGEMM's with one for each row.

use serde::Deserialize;

use super::coded::{Cells, CodedWeight, Codes, Table, Zero};
use super::parts::Parts;
use super::settings::Settings;
use crate::error::SourceError;

/// What `quantization_config` says.
pub(super) struct Fp8 {
    /// Rows and columns of a block, where there are blocks.
    block: Option<[i64; 2]>,
}

#[derive(Deserialize)]
struct Raw {
    weight_block_size: Option<[i64; 2]>,
    fmt: Option<String>,
    expert_dtype: Option<String>,
}

impl Fp8 {
    pub(super) fn parse(settings: &Settings<'_>) -> Result<Self, SourceError> {
        let raw: Raw = settings.fields()?;
        if let Some(format) = raw.fmt.filter(|it| !it.eq_ignore_ascii_case("e4m3")) {
            return Err(settings.unsupported("fmt", &format, "e4m3"));
        }
        if let Some(dtype) = raw.expert_dtype.filter(|it| it != "fp8") {
            return Err(settings.unsupported("expert_dtype", &dtype, "fp8"));
        }
        if let Some(block) = raw.weight_block_size
            && block.iter().any(|&extent| extent < 1)
        {
            let found = format!("{block:?}");
            return Err(settings.unsupported("weight_block_size", &found, "two positive numbers"));
        }
        Ok(Self {
            block: raw.weight_block_size,
        })
    }

    pub(super) fn coded<'a>(
        &self,
        parts: Parts<'a, '_>,
    ) -> Result<Option<CodedWeight<'a>>, SourceError> {
        if parts.dtype("weight") != Some("F8_E4M3") {
            return Ok(None);
        }
        let scale = match parts.has("weight_scale") {
            true => "weight_scale",
            false => "weight_scale_inv",
        };
        let (rows, columns) = (parts.rows, parts.columns);
        let [row_block, column_block] = match (self.block, parts.shape(scale)) {
            (Some(block), _) => block,
            (None, Some(&[found, 1])) if found == rows => [1, columns],
            (None, _) => [rows, columns],
        };
        let (row_block, column_block) = (row_block as usize, column_block as usize);
        let cells = Cells::blocks(row_block, column_block, columns as usize);
        let cell_rows = (rows as usize).div_ceil(row_block) as i64;
        let shape = parts.shape_of_cells(scale, cell_rows, cells.num_columns as i64);
        Ok(Some(CodedWeight {
            rows: rows as usize,
            columns: columns as usize,
            codes: Codes::Float8(
                parts.bytes("weight", "F8_E4M3", &[rows, columns])?,
                columns as usize,
            ),
            zero: Zero::Everywhere(0.0),
            scales: Table {
                numbers: parts.floats(scale, &shape)?,
                strides: (cells.num_columns, 1),
            },
            cells,
        }))
    }
}
