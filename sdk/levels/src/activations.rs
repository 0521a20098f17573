//! The residual stream of every calibration sequence between two blocks, `[S, L, D]` in f32: in memory, or in a file without a name
//! where it would take too much of it.

use std::path::Path;

use memmap2::MmapMut;
use tch::{Device, Kind, Tensor};

use crate::error::{EngineError, Result};

/// Activations between blocks, changed in place.
pub(super) struct Activations {
    all: Tensor,
    /// Keeps the memory of `all` where that is a file's.
    _map: Option<MmapMut>,
}

impl Activations {
    /// Room for `num_sequences` sequences of `length` tokens; beyond `limit_bytes` in a file in `folder`.
    pub(super) fn new(
        (num_sequences, length, width): (usize, usize, usize),
        limit_bytes: u64,
        folder: &Path,
    ) -> Result<Self> {
        let size = [num_sequences as i64, length as i64, width as i64];
        let bytes = (num_sequences * length * width * 4) as u64;
        if bytes <= limit_bytes {
            return Ok(Self {
                all: Tensor::f_empty(size, (Kind::Float, Device::Cpu))?,
                _map: None,
            });
        }
        let file = tempfile::tempfile_in(folder).map_err(EngineError::io(folder))?;
        // Reserved now: a disk that fills up later would be a fault on a page, not an error.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
            .map_err(|errno| EngineError::io(folder)(errno.into()))?;
        // SAFETY: the file has no name, so nobody else changes it.
        let mut map = unsafe { MmapMut::map_mut(&file) }.map_err(EngineError::io(folder))?;
        let strides = [size[1] * size[2], size[2], 1];
        // SAFETY: the map has `bytes` bytes, is aligned to pages and outlives the tensor, which never leaves this struct but as views
        // that are dropped before it.
        let all = unsafe {
            Tensor::from_blob(map.as_mut_ptr(), &size, &strides, Kind::Float, Device::Cpu)
        };
        Ok(Self {
            all,
            _map: Some(map),
        })
    }

    /// How many sequences there are, and how many tokens each has.
    pub(super) fn shape(&self) -> (usize, usize) {
        let size = self.all.size();
        (size[0] as usize, size[1] as usize)
    }

    /// One sequence's stream `[L, D]`, a view: what is written to it stays.
    pub(super) fn sequence(&self, idx: usize) -> Result<Tensor> {
        Ok(self.all.f_select(0, idx as i64)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_serves_as_memory() {
        let folder = tempfile::tempdir().unwrap();
        for limit_bytes in [0, u64::MAX] {
            let activations = Activations::new((3, 4, 5), limit_bytes, folder.path()).unwrap();
            for idx in 0..3 {
                let mut sequence = activations.sequence(idx).unwrap();
                let _ = sequence.fill_(idx as i64);
            }
            let found = activations.sequence(2).unwrap().sum(Kind::Float);
            assert_eq!(found.double_value(&[]), 2.0 * 20.0);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
