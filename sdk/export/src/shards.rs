//! Safetensors files of a folder, with an index where there are several.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, View};
use serde_json::json;

use crate::error::{ExportError, Result};

/// Largest weights file; more become shards with an index.
const SHARD_BYTES: usize = 4 << 30;

/// A tensor whose bytes are made when they are written.
pub(super) struct FileTensor<'a> {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Box<dyn Fn() -> Result<Vec<u8>> + 'a>,
}

impl FileTensor<'_> {
    fn num_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// Writes all tensors into `folder`; bytes in all. No more than one tensor is in memory.
pub(super) fn write(
    tensors: &[FileTensor<'_>],
    folder: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64> {
    let shards = shards(tensors);
    let total: u64 = tensors.iter().map(|tensor| tensor.num_bytes() as u64).sum();
    let written = RefCell::new((0_u64, &mut progress as &mut dyn FnMut(u64, u64)));
    let mut weight_map = BTreeMap::new();
    for (shard_idx, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", shard_idx + 1),
        };
        let failure = RefCell::new(None);
        let on_tensor = |bytes: usize| {
            let (done, progress) = &mut *written.borrow_mut();
            *done += bytes as u64;
            progress(*done, total);
        };
        let views = shard.iter().map(|&tensor| {
            (
                tensor.name.clone(),
                Stream {
                    tensor,
                    failure: &failure,
                    on_tensor: &on_tensor,
                },
            )
        });
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
        let path = folder.join(&name);
        let result = safetensors::serialize_to_file(views, metadata, &path);
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        result.map_err(|error| ExportError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        std::fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(ExportError::io(&path))?;
        weight_map.extend(
            shard
                .iter()
                .map(|tensor| (tensor.name.clone(), name.clone())),
        );
    }
    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
        let path = folder.join("model.safetensors.index.json");
        std::fs::write(&path, format!("{index:#}\n")).map_err(ExportError::io(&path))?;
    }
    Ok(total)
}

/// The tensors cut into files.
fn shards<'t, 'a>(tensors: &'t [FileTensor<'a>]) -> Vec<Vec<&'t FileTensor<'a>>> {
    let mut shards: Vec<Vec<&FileTensor<'a>>> = vec![Vec::new()];
    let mut bytes = 0;
    for tensor in tensors {
        if bytes > 0 && bytes + tensor.num_bytes() > SHARD_BYTES {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += tensor.num_bytes();
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor);
        }
    }
    shards
}

/// A tensor that is read when safetensors asks for its bytes.
struct Stream<'a> {
    tensor: &'a FileTensor<'a>,
    /// `data` cannot fail; what went wrong is left here and the file thrown away.
    failure: &'a RefCell<Option<ExportError>>,
    on_tensor: &'a dyn Fn(usize),
}

impl View for Stream<'_> {
    fn dtype(&self) -> Dtype {
        self.tensor.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = (self.tensor.bytes)().unwrap_or_else(|error| {
            *self.failure.borrow_mut() = Some(error);
            vec![0; self.data_len()]
        });
        (self.on_tensor)(bytes.len());
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.tensor.num_bytes()
    }
}
