//! A tensor in a file without a name, for what would take too much memory.

use std::path::Path;

use memmap2::MmapMut;
use tch::{Device, Kind, Tensor};

use crate::error::{Result, TensorError};

/// Rows of f32 numbers `[N, …]`, in memory or in a file.
pub struct SpilledRows {
    all: Tensor,
    /// Keeps the memory of `all` where that is a file's.
    _map: Option<MmapMut>,
}

impl SpilledRows {
    /// Room for `size` numbers: in memory where they take at most `limit_bytes`, else in a file in
    /// `folder` that has no name and goes with this value.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn new(size: &[i64], limit_bytes: u64, folder: &Path) -> Result<Self> {
        let bytes = 4 * size.iter().product::<i64>() as u64;
        if bytes <= limit_bytes {
            return Ok(Self {
                all: Tensor::f_empty(size, (Kind::Float, Device::Cpu))?,
                _map: None,
            });
        }
        let failed = |source: std::io::Error| TensorError::Spill {
            folder: folder.to_path_buf(),
            source,
        };
        let file = tempfile::tempfile_in(folder).map_err(failed)?;
        // Reserved now: a disk that fills up later would be a fault on a page, not an error.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
            .map_err(|errno| failed(errno.into()))?;
        // SAFETY: the file has no name, so nobody else changes it.
        let mut map = unsafe { MmapMut::map_mut(&file) }.map_err(failed)?;
        let strides: Vec<i64> = (0..size.len())
            .map(|dim| size[dim + 1..].iter().product())
            .collect();
        // SAFETY: the map has `bytes` bytes, is aligned to pages and outlives the tensor: that is private, and rows are only
        // copied out of it and into it.
        let all = unsafe {
            Tensor::f_from_blob(map.as_mut_ptr(), size, &strides, Kind::Float, Device::Cpu)?
        };
        Ok(Self {
            all,
            _map: Some(map),
        })
    }

    /// `[N, …]`.
    pub fn size(&self) -> Vec<i64> {
        self.all.size()
    }

    /// A copy of one row on `device`.
    ///
    /// # Errors
    /// When there is no row of this index, or no memory for the copy.
    pub fn read(&self, idx: usize, device: Device) -> Result<Tensor> {
        let row = self.all.f_select(0, idx as i64)?;
        Ok(match device {
            Device::Cpu => row.f_detach_copy()?,
            _ => row.f_to_device(device)?,
        })
    }

    /// Replaces one row.
    ///
    /// # Errors
    /// When there is no row of this index, or `row` has another shape.
    pub fn write(&mut self, idx: usize, row: &Tensor) -> Result<()> {
        self.all.f_select(0, idx as i64)?.f_copy_(row)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_serves_as_memory() {
        let folder = tempfile::tempdir().unwrap();
        for limit_bytes in [0, u64::MAX] {
            let mut rows = SpilledRows::new(&[3, 4, 5], limit_bytes, folder.path()).unwrap();
            for idx in 0..3 {
                let row = Tensor::full([4, 5], idx as i64, (Kind::Float, Device::Cpu));
                rows.write(idx, &row).unwrap();
            }
            for idx in 0..3 {
                let row = rows.read(idx, Device::Cpu).unwrap();
                assert_eq!(row.sum(Kind::Float).double_value(&[]), 20.0 * idx as f64);
            }
            assert!(rows.read(3, Device::Cpu).is_err());
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
