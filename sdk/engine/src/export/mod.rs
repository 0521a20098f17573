//! The result as a Hugging Face folder that any runtime of the family loads; [`gguf`] writes it as one file for llama.cpp.
//!
//! Blocks that are dropped whole are left out and the rest renumbered; `num_hidden_layers` and every list with an entry per
//! block follow. A sub-block that is dropped alone keeps its tensors, with an output projection of zeros: it adds exactly
//! nothing, in every runtime. Compressed weights are written decoded, in the run's dtype. Weights are streamed; no more than one tensor
//! is in memory.

pub mod gguf;
mod layout;
mod verify;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use evopress_plugin::Edit;
use safetensors::tensor::{Dtype, View};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use crate::error::{EngineError, Result};
use crate::genotype::{Candidate, Genotype, SearchSpace};
use crate::levels::Database;
use crate::source::Source;

use layout::{Layout, OutTensor};
pub use verify::verify;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Parameters that still do something: zeroed sub-blocks and pruned weights do not count.
    pub parameters: u64,
    /// Bytes of all weights files.
    pub weight_bytes: u64,
}

/// Writes the model that `genotype` stands for into `folder`, which exists and is empty. `databases` are in the order of the methods.
/// `progress` is told bytes written and bytes in all.
///
/// # Errors
/// A tensor that cannot be read, or a file that cannot be written.
pub fn huggingface(
    source: &Source,
    space: &SearchSpace,
    databases: &[Arc<Database>],
    genotype: &Genotype,
    kind: Kind,
    folder: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<Written> {
    let layout = Layout::new(source, space, &space.candidate(genotype), kind);
    let shards = layout.shards();
    let total: u64 = layout
        .tensors
        .iter()
        .map(|tensor| tensor.num_bytes() as u64)
        .sum();
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
                    source,
                    databases,
                    tensor,
                    kind,
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
        result.map_err(|error| EngineError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        std::fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(EngineError::io(&path))?;
        weight_map.extend(
            shard
                .iter()
                .map(|tensor| (tensor.name.clone(), name.clone())),
        );
    }
    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
        let path = folder.join("model.safetensors.index.json");
        std::fs::write(&path, format!("{index:#}\n")).map_err(EngineError::io(&path))?;
    }
    let mut files = source.hf_files()?;
    adapt_config(&mut files.config, source.config().num_blocks, &layout, kind);
    files
        .config
        .insert("evopress".into(), describe(space, genotype));
    files.write(folder)?;
    Ok(Written {
        parameters: layout.num_parameters(),
        weight_bytes: total,
    })
}

/// Parameters that a candidate leaves working.
pub fn num_parameters(source: &Source, space: &SearchSpace, candidate: &Candidate) -> u64 {
    Layout::new(source, space, candidate, Kind::BFloat16).num_parameters()
}

/// A tensor that is read when safetensors asks for its bytes.
struct Stream<'a> {
    source: &'a Source,
    databases: &'a [Arc<Database>],
    tensor: &'a OutTensor,
    kind: Kind,
    /// `data` cannot fail; what went wrong is left here and the file thrown away.
    failure: &'a RefCell<Option<EngineError>>,
    on_tensor: &'a dyn Fn(usize),
}

impl Stream<'_> {
    fn read(&self) -> Result<Tensor> {
        let tensor = match self.tensor.level {
            Some(id) => {
                let database = &self.databases[usize::from(id.method_idx)];
                database.decode(id, self.kind, Device::Cpu)?
            }
            None => self.source.tensor(&self.tensor.source_name)?,
        };
        Ok(tensor.f_to_kind(self.kind)?.f_contiguous()?)
    }
}

impl View for Stream<'_> {
    fn dtype(&self) -> Dtype {
        if self.kind == Kind::Float {
            Dtype::F32
        } else {
            Dtype::BF16
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        if !self.tensor.is_zero {
            match self.read() {
                Ok(tensor) => tensor.copy_data_u8(&mut bytes, tensor.numel()),
                Err(error) => *self.failure.borrow_mut() = Some(error),
            }
        }
        (self.on_tensor)(bytes.len());
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.tensor.num_bytes()
    }
}

fn adapt_config(config: &mut Map<String, Value>, num_blocks: usize, layout: &Layout, kind: Kind) {
    for (key, value) in config.iter_mut() {
        // A model with as many end tokens as blocks has a list of that length that is about something else.
        let is_other =
            key == "architectures" || key.ends_with("token_id") || key.ends_with("token_ids");
        if let Value::Array(list) = value
            && list.len() == num_blocks
            && !is_other
        {
            let mut idx = 0;
            list.retain(|_| {
                idx += 1;
                layout.kept_blocks.contains(&(idx - 1))
            });
        }
    }
    config.insert("num_hidden_layers".into(), json!(layout.kept_blocks.len()));
    config.insert(
        "torch_dtype".into(),
        json!(if kind == Kind::Float {
            "float32"
        } else {
            "bfloat16"
        }),
    );
}

/// What the config and the model card say of the compression; unit names are those of the dense model.
fn describe(space: &SearchSpace, genotype: &Genotype) -> Value {
    let levels: Map<String, Value> = space
        .describe(genotype)
        .into_iter()
        .map(|(unit, level)| (unit, Value::String(level)))
        .collect();
    let dropped: Vec<&String> = space
        .units()
        .iter()
        .zip(&genotype.0)
        .filter(|(unit, level)| {
            let edits = &unit.levels[usize::from(**level)].edits;
            edits
                .iter()
                .any(|edit| !matches!(edit, Edit::Replace { .. }))
        })
        .map(|(unit, _)| &unit.name)
        .collect();
    json!({"num_hidden_layers_dense": space.num_blocks(), "dropped": dropped, "levels": levels})
}
