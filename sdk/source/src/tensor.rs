//! A tensor of a model's files, in main memory when it is asked for.

use evopress_plugin::{DType, GgmlType};
use half::{bf16, f16};

use crate::dequantize::dequantize;
use crate::spec::StoredRows;

/// A tensor of a model's files: f32, f16 or bf16, row-major, little-endian.
///
/// Nothing is read or decoded before [`StoredTensor::write_to`].
pub struct StoredTensor<'a> {
    dtype: DType,
    shape: Vec<i64>,
    content: Content<'a>,
}

enum Content<'a> {
    /// The elements as the file has them.
    Plain(&'a [u8]),
    /// Blocks of one of ggml's quantized types, which are decoded to f32.
    Quantized(GgmlType, &'a [u8]),
    /// The elements in memory of their own.
    Owned(Vec<u8>),
    /// What writes the elements.
    Computed(Write<'a>),
}

/// Writes all elements of a tensor to a buffer of their size.
pub(crate) type Write<'a> = Box<dyn Fn(&mut [u8]) + Send + Sync + 'a>;

impl<'a> StoredTensor<'a> {
    /// A tensor whose elements lie in a file as they are.
    pub(crate) fn plain(dtype: DType, shape: &[i64], bytes: &'a [u8]) -> Self {
        Self {
            dtype,
            shape: shape.to_vec(),
            content: Content::Plain(bytes),
        }
    }

    /// A tensor of one of ggml's types: of f32, f16 or bf16 as it is, of others in f32.
    pub(crate) fn ggml(ggml_type: GgmlType, shape: &[i64], bytes: &'a [u8]) -> Self {
        let dtype = match ggml_type {
            GgmlType::F16 => DType::F16,
            GgmlType::Bf16 => DType::Bf16,
            _ => DType::F32,
        };
        let content = match ggml_type.is_quantized() {
            true => Content::Quantized(ggml_type, bytes),
            false => Content::Plain(bytes),
        };
        Self {
            dtype,
            shape: shape.to_vec(),
            content,
        }
    }

    /// A tensor whose elements have been computed.
    pub(crate) fn owned(dtype: DType, shape: &[i64], bytes: Vec<u8>) -> Self {
        Self {
            dtype,
            shape: shape.to_vec(),
            content: Content::Owned(bytes),
        }
    }

    /// A tensor whose elements `write` computes each time that they are wanted.
    pub(crate) fn computed(dtype: DType, shape: &[i64], write: Write<'a>) -> Self {
        Self {
            dtype,
            shape: shape.to_vec(),
            content: Content::Computed(write),
        }
    }

    /// Type of the elements: f32, f16 or bf16.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Rows first: `[out_features, in_features]`.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Bytes of all elements.
    pub fn size_bytes(&self) -> usize {
        let numbers = self.shape.iter().product::<i64>();
        numbers as usize * self.dtype.size_bytes()
    }

    /// Writes the elements to `out`, which is [`StoredTensor::size_bytes`] long. Quantized ones are
    /// decoded on several threads.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn write_to(&self, out: &mut [u8]) {
        match &self.content {
            Content::Plain(bytes) => out.copy_from_slice(bytes),
            Content::Quantized(ggml_type, blocks) => dequantize(*ggml_type, blocks, out),
            Content::Owned(bytes) => out.copy_from_slice(bytes),
            Content::Computed(write) => write(out),
        }
    }

    /// Whether single rows can be read ([`StoredTensor::write_rows`]) without the rest.
    pub fn has_rows(&self) -> bool {
        match &self.content {
            Content::Plain(_) => self.shape.len() == 2,
            Content::Quantized(ggml_type, _) => {
                self.shape.len() == 2
                    && (self.shape[1] as usize).is_multiple_of(ggml_type.block_len())
            }
            Content::Owned(_) | Content::Computed(_) => false,
        }
    }

    /// Writes the elements of the rows with these numbers to `out`, one row after another.
    ///
    /// # Errors
    /// The first number of which there is no row.
    ///
    /// # Panics
    /// When `out` has another length, or where the tensor does not [have rows](Self::has_rows).
    pub fn write_rows(&self, rows: &[i64], out: &mut [u8]) -> Result<(), i64> {
        let width = self.shape[1] as usize * self.dtype.size_bytes();
        assert_eq!(out.len(), rows.len() * width, "the rows fill the buffer");
        if let Some(&missing) = rows.iter().find(|row| !(0..self.shape[0]).contains(row)) {
            return Err(missing);
        }
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
            self.write_rows_from(row as usize, out);
        }
        Ok(())
    }

    /// Writes the elements of as many rows as `out` holds, from row `first` on.
    ///
    /// # Panics
    /// Where there are not so many rows, or the tensor does not [have rows](Self::has_rows).
    pub fn write_rows_from(&self, first: usize, out: &mut [u8]) {
        assert!(self.has_rows(), "a tensor is read by rows that has none");
        let count = out.len() / (self.shape[1] as usize * self.dtype.size_bytes());
        let num_rows = self.shape[0] as usize;
        let of_rows = |bytes: &'a [u8]| {
            let length = bytes.len() / num_rows;
            &bytes[first * length..][..count * length]
        };
        match &self.content {
            Content::Plain(bytes) => out.copy_from_slice(of_rows(bytes)),
            Content::Quantized(ggml_type, blocks) => dequantize(*ggml_type, of_rows(blocks), out),
            Content::Owned(_) | Content::Computed(_) => {}
        }
    }

    /// The elements.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size_bytes()];
        self.write_to(&mut bytes);
        bytes
    }

    /// The elements as f32.
    pub(crate) fn to_floats(&self) -> Vec<f32> {
        let bytes = self.to_bytes();
        match self.dtype {
            DType::F32 => floats(&bytes, f32::from_le_bytes),
            DType::F16 => floats(&bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            _ => floats(&bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        }
    }

    /// Some rows of the tensor, of which each is as long as the rest of `shape` says.
    pub(crate) fn rows(self, stored: &StoredRows, shape: &[i64]) -> Self {
        let (dtype, shape) = (self.dtype, shape.to_vec());
        let computed = match &self.content {
            Content::Computed(_) => self.to_bytes(),
            _ => Vec::new(),
        };
        let content = match self.content {
            Content::Plain(bytes) => Content::Plain(stored.rows_of(&shape, bytes)),
            Content::Quantized(ggml_type, bytes) => {
                Content::Quantized(ggml_type, stored.rows_of(&shape, bytes))
            }
            Content::Owned(bytes) => Content::Owned(stored.rows_of(&shape, &bytes).to_vec()),
            Content::Computed(_) => Content::Owned(stored.rows_of(&shape, &computed).to_vec()),
        };
        Self {
            dtype,
            shape,
            content,
        }
    }

    /// The elements less 1, in f32: what Hugging Face's files have of a norm's weight that a GGUF
    /// file holds whole.
    pub(crate) fn less_one(self) -> Self {
        let less = self.to_floats().into_iter().map(|number| number - 1.0);
        let bytes = less.flat_map(f32::to_le_bytes).collect();
        Self::owned(DType::F32, &self.shape, bytes)
    }

    /// The tensor with the rows of each head in Hugging Face's order (first half, second half)
    /// where they are in llama.cpp's (one of each in turn).
    pub(crate) fn with_halves_of_heads(self, num_heads: i64) -> Self {
        let bytes = self.to_bytes();
        let num_rows = self.shape[0] as usize;
        let row_bytes = bytes.len() / num_rows;
        let head_dim = num_rows / num_heads as usize;
        let mut ordered = Vec::with_capacity(bytes.len());
        for row in 0..num_rows {
            let (head, at) = (row / head_dim, row % head_dim);
            let half = head_dim / 2;
            let from = head * head_dim + at % half * 2 + at / half;
            ordered.extend(&bytes[from * row_bytes..][..row_bytes]);
        }
        Self::owned(self.dtype, &self.shape, ordered)
    }
}

fn floats<const N: usize>(bytes: &[u8], float: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<N>();
    numbers.iter().map(|number| float(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_heads_are_put_together() {
        // Two heads of four rows of one f16.
        let bytes: Vec<u8> = (0..8).flat_map(|row| [row, row]).collect();
        let tensor = StoredTensor::plain(DType::F16, &[8, 1], &bytes).with_halves_of_heads(2);
        let rows: Vec<u8> = tensor.to_bytes().into_iter().step_by(2).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn single_rows() {
        let bytes: Vec<u8> = (0..12).collect();
        let tensor = StoredTensor::plain(DType::F16, &[3, 2], &bytes);
        let mut rows = [0; 8];
        assert_eq!(tensor.write_rows(&[2, 0], &mut rows), Ok(()));
        assert_eq!(rows, [8, 9, 10, 11, 0, 1, 2, 3]);
        assert_eq!(tensor.write_rows(&[1, 3], &mut rows), Err(3));
        // Two rows of one block each: a scale of 1 and codes.
        let block = |code: u8| [&[0, 0x3c][..], &[code; 32]].concat();
        let blocks = [block(1), block(2)].concat();
        let tensor = StoredTensor::ggml(GgmlType::Q8_0, &[2, 32], &blocks);
        let mut row = vec![0; 32 * 4];
        assert_eq!(tensor.write_rows(&[1], &mut row), Ok(()));
        assert_eq!(row, [2.0_f32; 32].map(f32::to_le_bytes).concat());
        assert!(!StoredTensor::owned(DType::F16, &[3, 2], bytes.clone()).has_rows());
    }

    #[test]
    fn rows_of_a_stacked_tensor() {
        let stored = StoredRows {
            name: "qkv".into(),
            shape: vec![2, 3, 2],
            first_row: 4,
        };
        let bytes: Vec<u8> = (0..24).collect();
        let whole = || StoredTensor::plain(DType::F16, &[2, 3, 2], &bytes);
        let rows = whole().rows(&stored, &[2, 2]);
        assert_eq!(
            (rows.shape(), rows.to_bytes()),
            (&[2, 2][..], bytes[16..].to_vec())
        );
        let bias = StoredRows {
            shape: vec![12],
            ..stored
        };
        let rows = StoredTensor::plain(DType::F16, &[12], &bytes).rows(&bias, &[3]);
        assert_eq!(rows.to_bytes(), bytes[8..14]);
    }

    #[test]
    fn norms_of_gguf_files_lose_their_one() {
        let bytes = [1.5_f32, 0.25].map(f32::to_le_bytes).concat();
        let tensor = StoredTensor::plain(DType::F32, &[2], &bytes).less_one();
        assert_eq!(
            tensor.to_bytes(),
            [0.5_f32, -0.75].map(f32::to_le_bytes).concat()
        );
    }
}
