//! A tensor of a model's files, in main memory when it is asked for.

use evopress_plugin::{DType, GgmlType};

use crate::dequantize::dequantize;

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
            DType::F16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|it| half::f16::from_le_bytes(*it).to_f32())
                .collect(),
            DType::Bf16 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|it| half::bf16::from_le_bytes(*it).to_f32())
                .collect(),
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|it| f32::from_le_bytes(*it))
                .collect(),
        }
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
}
