//! How a level database writes down a compressed weight `W [N, K]`: which parts there are, what
//! they weigh, how they are read.
//!
//! | encoding | parts | weight |
//! |---|---|---|
//! | [`Encoding::Quantized`] | `codes`, `scales`, `zeros` | `(code − zero) · scale`, a scale and a zero for each `group_size` columns of a row |
//! | [`Encoding::Sparse`] | `mask`, `values` | the next value where the mask's bit is set, else 0 |
//! | [`Encoding::Ggml`] | `blocks` | as [`GgmlType`] says |
//!
//! Codes, zeros and mask bits are little-endian bit streams, each row padded to whole bytes: number
//! `i` of a row is in bits `i·b .. (i + 1)·b`, bit 0 being the lowest of the first byte.

mod decode;
mod pack;

pub use decode::Decoder;
pub use pack::{pack_codes, pack_sparse, unpack_codes};

use crate::{DType, GgmlType, PluginError};

/// How a compressed weight is packed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// A uniform grid for each group of a row's columns: `codes [N, ⌈K·bits/8⌉]` u8,
    /// `scales [N, K/group_size]` f16, and, unless symmetric, `zeros [N, ⌈K/group_size·bits/8⌉]`
    /// u8. A symmetric grid's zero is `2^(bits − 1)`.
    Quantized {
        /// Bits of a code, 1 to 8.
        bits: u8,
        /// Columns that share a scale; divides K.
        group_size: u32,
        /// Whether there are no zeros.
        symmetric: bool,
    },
    /// Kept weights row after row, and where they are: `mask [N, ⌈K/8⌉]` u8, `values [num_values]`.
    Sparse {
        /// Kept weights.
        num_values: u64,
        /// Dtype of the values: bf16, f16 or f32.
        dtype: DType,
    },
    /// Rows of ggml's blocks, as a GGUF file has them: `blocks [N, K / block_len · block_bytes]`
    /// u8.
    Ggml {
        /// The blocks' type, a quantized one; its `block_len` divides K.
        ggml_type: GgmlType,
    },
}

/// One tensor of a compressed weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `codes`, `scales`, …
    pub name: &'static str,
    /// Dtype of its elements.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<u64>,
}

impl Part {
    /// Bytes of all its elements.
    pub fn size_bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.dtype.size_bytes() as u64
    }
}

impl Encoding {
    /// Whether it fits a weight of `rows × columns`.
    ///
    /// # Errors
    /// Bits out of range, a group or a block that does not divide the columns, more values than
    /// weights, or values that are no floats.
    pub fn check(&self, rows: u64, columns: u64) -> Result<(), PluginError> {
        match *self {
            Encoding::Quantized { bits, .. } if !(1..=8).contains(&bits) => {
                Err(format!("{bits} bits a code; allowed are 1 to 8").into())
            }
            Encoding::Quantized { group_size, .. }
                if group_size == 0 || !columns.is_multiple_of(group_size.into()) =>
            {
                Err(format!(
                    "a group size of {group_size} does not divide the layer's {columns} input features"
                )
                .into())
            }
            Encoding::Sparse { num_values, .. } if num_values > rows * columns => {
                Err(format!("{num_values} values of {} weights", rows * columns).into())
            }
            Encoding::Sparse { dtype, .. } if matches!(dtype, DType::I64 | DType::U8) => {
                Err(format!("values of dtype {dtype}; expected bf16, f16 or f32").into())
            }
            Encoding::Ggml { ggml_type } if !ggml_type.is_quantized() => Err(format!(
                "blocks of type {ggml_type}; expected a quantized type"
            )
            .into()),
            Encoding::Ggml { ggml_type }
                if columns == 0 || !columns.is_multiple_of(ggml_type.block_len() as u64) =>
            {
                Err(format!(
                    "blocks of {} weights ({ggml_type}) do not divide the layer's {columns} input features",
                    ggml_type.block_len()
                )
                .into())
            }
            _ => Ok(()),
        }
    }

    /// The tensors of a weight of `rows × columns`, in their order.
    pub fn parts(&self, rows: u64, columns: u64) -> Vec<Part> {
        let part = |name, dtype, shape| Part { name, dtype, shape };
        match *self {
            Encoding::Quantized {
                bits,
                group_size,
                symmetric,
            } => {
                let groups = columns / u64::from(group_size);
                let stream = |count: u64| (count * u64::from(bits)).div_ceil(8);
                let mut parts = vec![
                    part("codes", DType::U8, vec![rows, stream(columns)]),
                    part("scales", DType::F16, vec![rows, groups]),
                ];
                if !symmetric {
                    parts.push(part("zeros", DType::U8, vec![rows, stream(groups)]));
                }
                parts
            }
            Encoding::Sparse { num_values, dtype } => vec![
                part("mask", DType::U8, vec![rows, columns.div_ceil(8)]),
                part("values", dtype, vec![num_values]),
            ],
            Encoding::Ggml { ggml_type } => vec![part(
                "blocks",
                DType::U8,
                vec![rows, ggml_type.size_bytes(columns)],
            )],
        }
    }

    /// Bytes of a weight of `rows × columns`.
    pub fn size_bytes(&self, rows: u64, columns: u64) -> u64 {
        self.parts(rows, columns).iter().map(Part::size_bytes).sum()
    }
}
