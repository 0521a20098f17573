//! Memory for weights: they stay for long, and what is taken by those that go must be free for
//! others.
//!
//! The heap keeps what is freed, for speed ([`crate::device::tune_allocator`]). Weights of several
//! sizes that come and go among short-lived tensors leave gaps in it that nothing fits into, so
//! that it grows to twice of what is held. Large ones therefore have pages of their own, which the
//! system gets back at once.

use std::ops::{Deref, DerefMut};

use half::bf16;
use memmap2::MmapMut;

use crate::buffer::Buffer;
use crate::error::{Result, TensorError};

/// Numbers that take less stay in the heap: a fault for each page would cost more than decoding
/// them.
const LEAST_OF_PAGES: usize = 1 << 19;

/// bf16 numbers, aligned to cache lines.
#[derive(Debug)]
pub(crate) enum Lasting {
    Heap(Buffer<bf16>),
    Pages(MmapMut),
}

impl Lasting {
    /// Memory for `count` numbers; they are whatever was there before.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub(crate) fn new(count: usize) -> Result<Self> {
        if count < LEAST_OF_PAGES {
            return Ok(Self::Heap(Buffer::new(&[count as i64])?));
        }
        let bytes = count * size_of::<bf16>();
        let pages = MmapMut::map_anon(bytes);
        let pages = pages.map_err(|source| TensorError::Memory { bytes, source })?;
        Ok(Self::Pages(pages))
    }
}

impl Deref for Lasting {
    type Target = [bf16];

    fn deref(&self) -> &[bf16] {
        match self {
            Self::Heap(buffer) => buffer,
            // SAFETY: pages are aligned beyond any number, and every pattern of bits is a bf16.
            Self::Pages(pages) => unsafe { pages.align_to().1 },
        }
    }
}

impl DerefMut for Lasting {
    fn deref_mut(&mut self) -> &mut [bf16] {
        match self {
            Self::Heap(buffer) => buffer,
            // SAFETY: as above; the numbers' bytes are initialised, whatever is written.
            Self::Pages(pages) => unsafe { pages.align_to_mut().1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_heap_hold_the_same() {
        for count in [3, LEAST_OF_PAGES + 1] {
            let mut memory = Lasting::new(count).unwrap();
            assert_eq!(memory.len(), count);
            assert_eq!(memory.as_ptr().align_offset(64), 0);
            memory[count - 1] = bf16::from_f32(2.5);
            assert_eq!(memory[count - 1].to_f32(), 2.5);
        }
    }
}
