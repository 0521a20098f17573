//! ggml's types of weights, the formats of llama.cpp: what a block of each holds, what it weighs,
//! how it is read.
//!
//! A row of a weight is a sequence of blocks. A block of 32 or 64 weights has one scale `d` (and a
//! minimum `m` in the `_1` types); a super-block of 256 (the K-quants) has `d` (and `dmin`) in f16
//! and, for each group of 16 or 32 weights, a scale (and a minimum) of 4, 6 or 8 bits:
//!
//! | type | weight | codes | group | bytes a block | bits a weight |
//! |---|---|---|---|---|---|
//! | `Q2_0` | `d · q` | 2 bits, −1 to 2 | 64 | 18 | 2.25 |
//! | `Q4_0`, `Q5_0`, `Q8_0` | `d · q` | 4, 5, 8 bits about zero | 32 | 18, 22, 34 | 4.5, 5.5, 8.5 |
//! | `Q4_1`, `Q5_1` | `d · q + m` | 4, 5 bits from zero | 32 | 20, 24 | 5, 6 |
//! | `IQ4_NL` | `d · c[q]` | 4 bits into a codebook `c` | 32 | 18 | 4.5 |
//! | `IQ4_XS` | `d · s · c[q]` | the same; `s` 6 bits about zero | 32 | 136 | 4.25 |
//! | `Q2_K` | `d · s · q − dmin · m` | 2 bits; `s`, `m` 4 bits | 16 | 84 | 2.625 |
//! | `Q3_K` | `d · s · q` | 3 bits about zero; `s` 6 bits about zero | 16 | 110 | 3.4375 |
//! | `Q4_K`, `Q5_K` | `d · s · q − dmin · m` | 4, 5 bits; `s`, `m` 6 bits | 32 | 144, 176 | 4.5, 5.5 |
//! | `Q6_K` | `d · s · q` | 6 bits about zero; `s` 8 bits about zero | 16 | 210 | 6.5625 |
//!
//! `Q2_0` is younger than the others: llama.cpp has it since 0.5.0, PyPI's gguf 0.19 not yet.
//!
//! The engine reads GGUF models with the same decoder as level databases, and the GGUF writer
//! copies blocks as they are.

mod decode;
#[cfg(test)]
mod tests;

use std::fmt;

/// What the codes of `IQ4_NL` and `IQ4_XS` stand for.
pub const IQ4_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// How ggml stores a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(
    missing_docs,
    reason = "the names are ggml's; the module's table says what each is"
)]
pub enum GgmlType {
    F32,
    F16,
    Bf16,
    Q2_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

impl GgmlType {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q2_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
    ];

    /// The type with ggml's number, if it is one of these.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.id() == id)
    }

    /// ggml's number, as a GGUF file has it.
    pub fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Iq4Nl => 20,
            Self::Iq4Xs => 23,
            Self::Bf16 => 30,
            Self::Q2_0 => 42,
        }
    }

    /// The type with a name, if it is one of these.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// ggml's name: `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q2_0 => "Q2_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
        }
    }

    /// Weights of a block; a row is whole blocks.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Iq4Nl => 32,
            Self::Q2_0 => 64,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::Iq4Xs => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q2_0 | Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Iq4Xs => 136,
        }
    }

    /// Weights that share a scale, and bits of their codes; none for plain floats.
    pub fn group(self) -> Option<(usize, u8)> {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => None,
            Self::Q4_0 | Self::Q4_1 | Self::Q4K | Self::Iq4Nl | Self::Iq4Xs => Some((32, 4)),
            Self::Q5_0 | Self::Q5_1 | Self::Q5K => Some((32, 5)),
            Self::Q8_0 => Some((32, 8)),
            Self::Q2_0 => Some((64, 2)),
            Self::Q2K => Some((16, 2)),
            Self::Q3K => Some((16, 3)),
            Self::Q6K => Some((16, 6)),
        }
    }

    /// Where the f16 numbers of a block begin by which its codes are multiplied, or which are
    /// added: scales and minima. Empty for plain floats.
    pub fn scale_offsets(self) -> &'static [usize] {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => &[],
            Self::Q2_0 | Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::Iq4Nl | Self::Iq4Xs => &[0],
            Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K => &[0, 2],
            Self::Q2K => &[80, 82],
            Self::Q3K => &[108],
            Self::Q6K => &[208],
        }
    }

    /// Whether a block has codes and scales rather than floats.
    pub fn is_quantized(self) -> bool {
        self.group().is_some()
    }

    /// Bits of a weight, scales included: 4.5 for `Q4_K`.
    pub fn bits_per_weight(self) -> f64 {
        (self.block_bytes() * 8) as f64 / self.block_len() as f64
    }

    /// Bytes of `num_weights`, which are whole blocks.
    pub fn size_bytes(self, num_weights: u64) -> u64 {
        num_weights / self.block_len() as u64 * self.block_bytes() as u64
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
