//! A tensor of a file that is being written.

use safetensors::tensor::Dtype;

use crate::error::Result;

/// Makes a tensor's bytes, and hands them over part after part.
pub(super) type Bytes<'a> = Box<dyn Fn(Sink<'_>) -> Result<()> + 'a>;

/// Takes a part of a tensor's bytes.
pub(super) type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> Result<()>;

/// A tensor whose bytes are made when they are written.
pub(super) struct FileTensor<'a> {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Bytes<'a>,
}

/// Bytes that are made at once.
pub(super) fn whole<'a>(make: impl Fn() -> Result<Vec<u8>> + 'a) -> Bytes<'a> {
    Box::new(move |sink| sink(&make()?))
}

impl FileTensor<'_> {
    pub(super) fn num_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}
