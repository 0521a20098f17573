//! A matrix of which single rows are wanted: the embedding, and the head's rows of tokens.

use std::sync::Arc;

use evopress_source::Source;
use evopress_tensor::{ReadOnly, from_bytes};
use tch::{Device, Kind, Tensor};

use crate::error::{ModelError, Result};
use crate::read::{kind_of, read_tensor};

/// Rows `[V, D]`: on the CPU they stay in the model's file, of which the system keeps in memory
/// what is used.
pub(crate) enum RowStore {
    File {
        source: Arc<Source>,
        name: String,
        /// In which rows come.
        kind: Kind,
    },
    Tensor(ReadOnly<Tensor>),
}

impl RowStore {
    /// The rows of a tensor of `source`, in `kind` on `device`.
    pub(crate) fn open(
        source: &Arc<Source>,
        name: &str,
        kind: Kind,
        device: Device,
    ) -> Result<Self> {
        if device == Device::Cpu && source.read(name)?.has_rows() {
            return Ok(Self::File {
                source: Arc::clone(source),
                name: name.to_owned(),
                kind,
            });
        }
        let tensor = read_tensor(source, name)?.f_to_device(device)?;
        let tensor = tensor.f_to_kind(kind)?.f_contiguous()?;
        Ok(Self::Tensor(ReadOnly::new(tensor)))
    }

    /// The rows with these numbers, `[n, D]` in memory of their own.
    pub(crate) fn select(&self, rows: &[i64]) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => {
                let tensor = tensor.get();
                let rows = Tensor::f_from_slice(rows)?.f_to_device(tensor.device())?;
                Ok(tensor.f_index_select(0, &rows)?)
            }
            Self::File { source, name, kind } => {
                let stored = source.read(name)?;
                let size = [rows.len() as i64, stored.shape()[1]];
                let mut written = Ok(());
                let selected = from_bytes(kind_of(stored.dtype()), &size, |bytes| {
                    written = stored.write_rows(rows, bytes);
                })?;
                written.map_err(|row| ModelError::NoSuchRow {
                    tensor: name.clone(),
                    row,
                    num_rows: stored.shape()[0],
                })?;
                Ok(selected.f_to_kind(*kind)?)
            }
        }
    }

    /// Another handle to the same rows.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Tensor(tensor) => Self::Tensor(tensor.share()),
            Self::File { source, name, kind } => Self::File {
                source: Arc::clone(source),
                name: name.clone(),
                kind: *kind,
            },
        }
    }
}
