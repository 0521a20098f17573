//! Numbers of files that are none: NaN and infinities.

use std::path::Path;

use evopress_plugin::{DType, GgmlType};

use crate::error::SourceError;

/// Numbers that are scanned without a branch, so that the processor does it in vectors.
const AT_A_TIME: usize = 1 << 12;

// What is wrong, up to the place.
const OF_NUMBERS: &str = "at";
const OF_SCALES: &str = "as a scale of the weights from";

/// A tensor as it lies in a file.
pub(crate) struct TensorInFile<'a> {
    pub(crate) file: &'a Path,
    pub(crate) name: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) numbers: Numbers<'a>,
}

/// The numbers of a tensor that may be none.
pub(crate) enum Numbers<'a> {
    /// Floats: f32, f16 or bf16.
    Floats(DType, &'a [u8]),
    /// Floats of eight bits, of which those with all bits but the sign are NaN.
    Float8(&'a [u8]),
    /// The scales of blocks of one of ggml's types.
    Blocks(GgmlType, &'a [u8]),
}

impl TensorInFile<'_> {
    /// What is wrong with the first number that is none.
    pub(crate) fn mistake(&self) -> Option<SourceError> {
        let (idx, value, of) = self.numbers.first_wrong()?;
        Some(SourceError::NotFinite {
            file: self.file.to_path_buf(),
            tensor: self.name.clone(),
            value,
            of,
            place: place(idx, &self.shape),
        })
    }
}

impl Numbers<'_> {
    /// The first number that is none: its index, its value, and what it is.
    fn first_wrong(&self) -> Option<(usize, f32, &'static str)> {
        match self {
            Self::Floats(DType::F32, bytes) => {
                let idx = first(bytes, |it| u32::from_le_bytes(it) & F32 == F32)?;
                let bytes: [u8; 4] = bytes[idx * 4..].first_chunk().copied()?;
                Some((idx, f32::from_le_bytes(bytes), OF_NUMBERS))
            }
            Self::Floats(DType::F16, bytes) => {
                let idx = first(bytes, |it| u16::from_le_bytes(it) & F16 == F16)?;
                Some((idx, f16_at(bytes, idx * 2), OF_NUMBERS))
            }
            Self::Floats(_, bytes) => {
                let idx = first(bytes, |it| u16::from_le_bytes(it) & BF16 == BF16)?;
                let bytes = [bytes[idx * 2], bytes[idx * 2 + 1]];
                Some((idx, half::bf16::from_le_bytes(bytes).to_f32(), OF_NUMBERS))
            }
            Self::Float8(codes) => {
                let idx = first(codes, |[code]: [u8; 1]| code & 0x7f == 0x7f)?;
                Some((idx, f32::NAN, OF_NUMBERS))
            }
            Self::Blocks(ggml_type, blocks) => {
                let offsets = ggml_type.scale_offsets();
                let mut blocks = blocks.chunks_exact(ggml_type.block_bytes()).enumerate();
                let (idx, value) = blocks.find_map(|(idx, block)| {
                    let mut scales = offsets.iter().map(|&at| f16_at(block, at));
                    Some((idx, scales.find(|it| !it.is_finite())?))
                })?;
                Some((idx * ggml_type.block_len(), value, OF_SCALES))
            }
        }
    }
}

// The bits of the exponents, which are all set in NaN and infinities.
const F32: u32 = 0x7f80_0000;
const F16: u16 = 0x7c00;
const BF16: u16 = 0x7f80;

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The index of the first number that is wrong.
fn first<const N: usize>(bytes: &[u8], is_wrong: impl Fn([u8; N]) -> bool) -> Option<usize> {
    let (numbers, _) = bytes.as_chunks::<N>();
    let mut chunks = numbers.chunks(AT_A_TIME).enumerate();
    let has_wrong = |chunk: &[[u8; N]]| chunk.iter().fold(false, |any, it| any | is_wrong(*it));
    let (chunk_idx, chunk) = chunks.find(|(_, chunk)| has_wrong(chunk))?;
    let idx = chunk.iter().position(|it| is_wrong(*it))?;
    Some(chunk_idx * AT_A_TIME + idx)
}

/// The index along each extent of a tensor of the number at an index of its bytes.
fn place(mut idx: usize, shape: &[i64]) -> Vec<usize> {
    let mut place: Vec<usize> = Vec::with_capacity(shape.len());
    for extent in shape.iter().rev() {
        let extent = (*extent).max(1) as usize;
        place.push(idx % extent);
        idx /= extent;
    }
    place.reverse();
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_that_is_none_is_found() {
        let check = |numbers: Numbers<'_>, expected: Option<(usize, &str)>| {
            let found = numbers.first_wrong();
            let found = found.map(|(idx, value, _)| (idx, value.to_string()));
            assert_eq!(found, expected.map(|(idx, value)| (idx, value.to_owned())));
        };
        let mut floats = vec![f32::MAX; 10_000];
        let bytes =
            |floats: &[f32]| -> Vec<u8> { floats.iter().flat_map(|it| it.to_le_bytes()).collect() };
        check(Numbers::Floats(DType::F32, &bytes(&floats)), None);
        (floats[9_000], floats[9_500]) = (f32::NEG_INFINITY, f32::NAN);
        check(
            Numbers::Floats(DType::F32, &bytes(&floats)),
            Some((9_000, "-inf")),
        );
        let halves = |numbers: &[half::f16]| -> Vec<u8> {
            numbers.iter().flat_map(|it| it.to_le_bytes()).collect()
        };
        let (most, none) = (half::f16::MAX, half::f16::NAN);
        check(Numbers::Floats(DType::F16, &halves(&[most, most])), None);
        check(
            Numbers::Floats(DType::F16, &halves(&[most, none])),
            Some((1, "NaN")),
        );
        // Of bf16 it is a number.
        check(
            Numbers::Floats(DType::Bf16, &halves(&[half::f16::INFINITY])),
            None,
        );
        let brain = half::bf16::INFINITY.to_le_bytes();
        check(Numbers::Floats(DType::Bf16, &brain), Some((0, "inf")));
        check(Numbers::Float8(&[0x7e, 0xfe, 0xff]), Some((2, "NaN")));
    }

    #[test]
    fn scales_of_blocks_are_scanned_and_codes_are_not() {
        let mut blocks = vec![0xff; 3 * GgmlType::Q6K.block_bytes()];
        for block in blocks.chunks_mut(GgmlType::Q6K.block_bytes()) {
            block[208..].copy_from_slice(&half::f16::ONE.to_le_bytes());
        }
        let first = |blocks: &[u8]| Numbers::Blocks(GgmlType::Q6K, blocks).first_wrong();
        assert_eq!(first(&blocks), None);
        blocks[2 * 210 + 208..].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
        let expected = Some((512, f32::INFINITY, OF_SCALES));
        assert_eq!(first(&blocks), expected);
    }

    #[test]
    fn places_are_along_the_extents() {
        assert_eq!(place(17, &[4, 8]), [2, 1]);
        assert_eq!(place(31, &[2, 2, 8]), [1, 1, 7]);
        assert_eq!(place(3, &[5]), [3]);
        assert_eq!(place(0, &[]), [0; 0]);
    }
}
