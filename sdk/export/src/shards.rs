//! Safetensors files of a folder, with an index where there are several.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::error::{ExportError, Result};
use crate::file_tensor::FileTensor;
use crate::safetensors_file;

/// Largest weights file; more become shards with an index.
const SHARD_BYTES: usize = 4 << 30;

/// Writes all tensors into `folder`; bytes in all. No more than a part of a tensor
/// is in memory.
pub(super) fn write(
    tensors: &[FileTensor<'_>],
    folder: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64> {
    let shards = shards(tensors);
    let total: u64 = tensors.iter().map(|tensor| tensor.num_bytes() as u64).sum();
    let mut done = 0;
    let mut weight_map = BTreeMap::new();
    for (shard_idx, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", shard_idx + 1),
        };
        safetensors_file::write(&folder.join(&name), shard, |bytes| {
            done += bytes as u64;
            progress(done, total);
        })?;
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
