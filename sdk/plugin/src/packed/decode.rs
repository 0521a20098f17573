//! Reading a compressed weight row by row, from wherever its bytes are.

use half::{bf16, f16};

use super::pack::code;
use super::{Encoding, Part};
use crate::{DType, PluginError};

/// A compressed weight, ready to be read.
#[derive(Debug)]
pub struct Decoder<'a> {
    encoding: Encoding,
    columns: usize,
    parts: Vec<&'a [u8]>,
    /// Of a sparse weight: the first value of each row.
    row_starts: Vec<usize>,
}

impl<'a> Decoder<'a> {
    /// A weight of `rows × columns` in the bytes of its parts.
    ///
    /// # Errors
    /// When a part is missing or has another size, or a mask does not have as many bits as there
    /// are values.
    pub fn new(
        encoding: &Encoding,
        rows: usize,
        columns: usize,
        parts: Vec<&'a [u8]>,
    ) -> Result<Self, PluginError> {
        encoding.check(rows as u64, columns as u64)?;
        let expected = encoding.parts(rows as u64, columns as u64);
        if parts.len() != expected.len() {
            return Err(format!("{} parts, expected {}", parts.len(), expected.len()).into());
        }
        let fits = |(bytes, part): &(&&[u8], &Part)| bytes.len() as u64 == part.size_bytes();
        if let Some((bytes, part)) = parts.iter().zip(&expected).find(|both| !fits(both)) {
            return Err(format!(
                "{} has {} bytes, expected {}",
                part.name,
                bytes.len(),
                part.size_bytes()
            )
            .into());
        }
        let mut row_starts = Vec::new();
        if let Encoding::Sparse { num_values, .. } = encoding {
            let mut start = 0;
            for row in parts[0].chunks(columns.div_ceil(8)) {
                row_starts.push(start);
                start += row
                    .iter()
                    .map(|byte| byte.count_ones() as usize)
                    .sum::<usize>();
            }
            if start as u64 != *num_values {
                return Err(
                    format!("the mask keeps {start} weights, expected {num_values}").into(),
                );
            }
        }
        Ok(Self {
            encoding: encoding.clone(),
            columns,
            parts,
            row_starts,
        })
    }

    /// One row of the weight.
    ///
    /// # Panics
    /// If there is no such row, or `out` has not one place for each column.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns);
        match self.encoding {
            Encoding::Quantized {
                bits,
                group_size,
                symmetric,
            } => self.quantized_row(row, bits, group_size as usize, symmetric, out),
            Encoding::Sparse { dtype, .. } => self.sparse_row(row, dtype, out),
            Encoding::Ggml { ggml_type } => {
                let row_bytes = ggml_type.size_bytes(self.columns as u64) as usize;
                ggml_type.dequantize(&self.parts[0][row * row_bytes..][..row_bytes], out);
            }
        }
    }

    fn quantized_row(
        &self,
        row: usize,
        bits: u8,
        group_size: usize,
        symmetric: bool,
        out: &mut [f32],
    ) {
        let num_groups = self.columns / group_size;
        let scales = &self.parts[1][row * num_groups * 2..][..num_groups * 2];
        let zeros = |group: usize| match symmetric {
            true => f32::from(1_u16 << (bits - 1)),
            false => {
                let row_bytes = (num_groups * usize::from(bits)).div_ceil(8);
                f32::from(code(&self.parts[2][row * row_bytes..], bits, group))
            }
        };
        let row_bytes = (self.columns * usize::from(bits)).div_ceil(8);
        let codes = &self.parts[0][row * row_bytes..][..row_bytes];
        unpack(codes, bits, out);
        for (group, out) in out.chunks_mut(group_size).enumerate() {
            let scale = f16::from_le_bytes([scales[2 * group], scales[2 * group + 1]]).to_f32();
            let zero = zeros(group);
            for weight in out {
                *weight = (*weight - zero) * scale;
            }
        }
    }

    fn sparse_row(&self, row: usize, dtype: DType, out: &mut [f32]) {
        let row_bytes = self.columns.div_ceil(8);
        let mask = &self.parts[0][row * row_bytes..][..row_bytes];
        let width = dtype.size_bytes();
        let mut values = self.parts[1][self.row_starts[row] * width..].chunks_exact(width);
        for (&bits, out) in mask.iter().zip(out.chunks_mut(8)) {
            for (bit, weight) in out.iter_mut().enumerate() {
                *weight = match bits >> bit & 1 {
                    0 => 0.0,
                    _ => values.next().map_or(0.0, |bytes| number(bytes, dtype)),
                };
            }
        }
    }
}

fn number(bytes: &[u8], dtype: DType) -> f32 {
    match dtype {
        DType::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        DType::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        _ => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
    }
}

/// All codes of a row, as numbers.
fn unpack(stream: &[u8], bits: u8, out: &mut [f32]) {
    let mask = 0xFF_u64 >> (8 - bits);
    // Eight codes fill `bits` whole bytes.
    for (bytes, out) in stream.chunks(bits.into()).zip(out.chunks_mut(8)) {
        let mut window = [0; 8];
        window[..bytes.len()].copy_from_slice(bytes);
        let window = u64::from_le_bytes(window);
        for (idx, number) in out.iter_mut().enumerate() {
            *number = (window >> (idx * usize::from(bits)) & mask) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GgmlType, pack_codes, pack_sparse};

    /// Every width of codes, rows that end within a byte, and groups of one column up to the whole
    /// row.
    #[test]
    fn quantized_weights_come_back() {
        for bits in 1..=8_u8 {
            for (columns, group_size) in [(16, 4), (12, 12), (3, 1)] {
                let rows = 5;
                let highest = 1_usize << bits;
                let codes: Vec<u8> = (0..rows * columns)
                    .map(|i| (i * 7 % highest) as u8)
                    .collect();
                let groups = columns / group_size;
                let zeros: Vec<u8> = (0..rows * groups)
                    .map(|i| (i * 3 % highest) as u8)
                    .collect();
                let scales: Vec<f16> = (0..rows * groups)
                    .map(|i| f16::from_f32(0.25 + i as f32))
                    .collect();
                let scale_bytes: Vec<u8> = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
                for symmetric in [false, true] {
                    let encoding = Encoding::Quantized {
                        bits,
                        group_size: group_size as u32,
                        symmetric,
                    };
                    let (packed, packed_zeros) = (
                        pack_codes(&codes, bits, columns),
                        pack_codes(&zeros, bits, groups),
                    );
                    let mut parts = vec![packed.as_slice(), &scale_bytes];
                    if !symmetric {
                        parts.push(&packed_zeros);
                    }
                    let decoder = Decoder::new(&encoding, rows, columns, parts).unwrap();
                    let mut out = vec![0.0; columns];
                    for row in 0..rows {
                        decoder.row(row, &mut out);
                        for (column, &found) in out.iter().enumerate() {
                            let group = row * groups + column / group_size;
                            let zero = match symmetric {
                                true => (highest / 2) as f32,
                                false => f32::from(zeros[group]),
                            };
                            let code = f32::from(codes[row * columns + column]);
                            assert_eq!(found, (code - zero) * scales[group].to_f32());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn sparse_weights_come_back() {
        let (rows, columns) = (4, 11);
        let weights: Vec<f32> = (0..rows * columns).map(|i| i as f32 - 9.0).collect();
        let is_kept: Vec<bool> = (0..rows * columns).map(|i| i % 3 != 0).collect();
        let expected = is_kept.iter().filter(|kept| **kept).count() as u64;
        let (mask, values) = pack_sparse(&weights, &is_kept, columns, expected).unwrap();
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let encoding = Encoding::Sparse {
            num_values: expected,
            dtype: DType::F32,
        };
        let decoder = Decoder::new(&encoding, rows, columns, vec![&mask, &bytes]).unwrap();
        let mut out = vec![0.0; columns];
        for row in 0..rows {
            decoder.row(row, &mut out);
            for (column, &found) in out.iter().enumerate() {
                let idx = row * columns + column;
                assert_eq!(found, if is_kept[idx] { weights[idx] } else { 0.0 });
            }
        }
        assert!(pack_sparse(&weights, &is_kept, columns, expected + 1).is_err());
    }

    #[test]
    fn ggml_blocks_come_back() {
        let encoding = Encoding::Ggml {
            ggml_type: GgmlType::Q8_0,
        };
        let block = |d: f32, code: i8| {
            let d = f16::from_f32(d).to_le_bytes();
            [d.as_slice(), &[code as u8; 32]].concat()
        };
        let blocks = [block(0.5, 3), block(1.0, -4), block(2.0, 1), block(0.25, 8)].concat();
        assert_eq!(encoding.size_bytes(2, 64), blocks.len() as u64);
        let decoder = Decoder::new(&encoding, 2, 64, vec![&blocks]).unwrap();
        let mut out = [0.0; 64];
        for (row, expected) in [(0, [1.5, -4.0]), (1, [2.0, 2.0])] {
            decoder.row(row, &mut out);
            assert_eq!([out[0], out[63]], expected);
        }
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let encoding = Encoding::Sparse {
            num_values: 3,
            dtype: DType::Bf16,
        };
        let refuse = |parts| Decoder::new(&encoding, 1, 8, parts).unwrap_err().message;
        assert_eq!(refuse(vec![&[7]]), "1 parts, expected 2");
        assert_eq!(
            refuse(vec![&[7], &[0; 5]]),
            "values has 5 bytes, expected 6"
        );
        assert_eq!(
            refuse(vec![&[3], &[0; 6]]),
            "the mask keeps 2 weights, expected 3"
        );
        let quantized = |bits, group_size| Encoding::Quantized {
            bits,
            group_size,
            symmetric: false,
        };
        let ggml = |ggml_type| Encoding::Ggml { ggml_type };
        for (encoding, sentence) in [
            (
                ggml(GgmlType::Q4K),
                "blocks of 256 weights (Q4_K) do not divide the layer's 8 input features",
            ),
            (
                ggml(GgmlType::F16),
                "blocks of type F16; expected a quantized type",
            ),
            (quantized(9, 4), "9 bits a code; allowed are 1 to 8"),
            (
                quantized(4, 3),
                "a group size of 3 does not divide the layer's 8 input features",
            ),
        ] {
            assert_eq!(encoding.check(1, 8).unwrap_err().message, sentence);
        }
    }
}
