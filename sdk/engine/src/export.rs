//! The result as a Hugging Face folder that any runtime of the family loads.
//!
//! Blocks that are dropped whole are left out and the rest renumbered; `num_hidden_layers` and every list with an entry per
//! block follow. A sub-block that is dropped alone keeps its tensors, with an output projection of zeros: it adds exactly
//! nothing, in every runtime. Weights are streamed; no more than one tensor is in memory.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, View};
use serde_json::{Map, Value, json};
use tch::Kind;

use crate::error::{EngineError, Result};
use crate::genotype::{Dropped, Genotype, SearchSpace};
use crate::source::{Source, SourceError};

/// Largest weights file; more become shards with an index.
const SHARD_BYTES: usize = 4 << 30;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Parameters that still do something: zeroed sub-blocks do not count.
    pub parameters: u64,
    /// Bytes of all weights files.
    pub weight_bytes: u64,
}

/// Writes the model that `genotype` stands for into `folder`, which exists and is empty. `progress` is told bytes written and
/// bytes in all.
///
/// # Errors
/// A tensor that cannot be read, or a file that cannot be written.
pub fn huggingface(
    source: &Source,
    space: &SearchSpace,
    genotype: &Genotype,
    kind: Kind,
    folder: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<Written> {
    let layout = Layout::new(source, &space.dropped(genotype), kind);
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
            return Err(EngineError::Source(error));
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
    let zeroed: u64 = layout
        .tensors
        .iter()
        .filter(|tensor| tensor.is_idle)
        .map(OutTensor::num_elements)
        .sum();
    let all: u64 = layout.tensors.iter().map(OutTensor::num_elements).sum();
    Ok(Written {
        parameters: all - zeroed,
        weight_bytes: total,
    })
}

/// Parameters that a genotype leaves working.
pub fn num_parameters(source: &Source, dropped: &Dropped) -> u64 {
    let layout = Layout::new(source, dropped, Kind::BFloat16);
    layout
        .tensors
        .iter()
        .filter(|tensor| !tensor.is_idle)
        .map(OutTensor::num_elements)
        .sum()
}

/// The tensors of the artifact, in the order of the forward pass.
struct Layout {
    tensors: Vec<OutTensor>,
    kept_blocks: Vec<usize>,
}

struct OutTensor {
    /// In the artifact.
    name: String,
    /// In the source.
    source_name: String,
    shape: Vec<usize>,
    element_bytes: usize,
    /// Whether it belongs to a sub-block that adds nothing.
    is_idle: bool,
    /// Whether it is written as zeros.
    is_zero: bool,
}

impl OutTensor {
    fn num_elements(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }

    fn num_bytes(&self) -> usize {
        self.num_elements() as usize * self.element_bytes
    }
}

impl Layout {
    fn new(source: &Source, dropped: &Dropped, kind: Kind) -> Self {
        let num_blocks = source.config().num_blocks;
        let kept_blocks: Vec<usize> = (0..num_blocks)
            .filter(|&idx| !(dropped.attention[idx] && dropped.mlp[idx]))
            .collect();
        let element_bytes = if kind == Kind::Float { 4 } else { 2 };
        let mut tensors = Vec::new();
        for (source_name, shape) in source.tensor_shapes() {
            let shape = shape.iter().map(|&extent| extent as usize).collect();
            let mut tensor = OutTensor {
                name: source_name.to_owned(),
                source_name: source_name.to_owned(),
                shape,
                element_bytes,
                is_idle: false,
                is_zero: false,
            };
            if let Some((block_idx, layer)) = block_of(source_name) {
                let Some(new_idx) = kept_blocks.iter().position(|&idx| idx == block_idx) else {
                    continue;
                };
                tensor.name = format!("model.layers.{new_idx}.{layer}");
                let attention =
                    layer.starts_with("self_attn.") || layer.starts_with("input_layernorm.");
                tensor.is_idle = if attention {
                    dropped.attention[block_idx]
                } else {
                    dropped.mlp[block_idx]
                };
                let is_output =
                    layer.starts_with("self_attn.o_proj.") || layer.starts_with("mlp.down_proj.");
                tensor.is_zero = tensor.is_idle && is_output;
            }
            tensors.push(tensor);
        }
        Self {
            tensors,
            kept_blocks,
        }
    }

    /// The tensors cut into files.
    fn shards(&self) -> Vec<Vec<&OutTensor>> {
        let mut shards: Vec<Vec<&OutTensor>> = vec![Vec::new()];
        let mut bytes = 0;
        for tensor in &self.tensors {
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
}

/// `model.layers.3.mlp.up_proj.weight` → `(3, "mlp.up_proj.weight")`.
fn block_of(name: &str) -> Option<(usize, &str)> {
    let (idx, layer) = name.strip_prefix("model.layers.")?.split_once('.')?;
    Some((idx.parse().ok()?, layer))
}

/// A tensor that is read when safetensors asks for its bytes.
struct Stream<'a> {
    source: &'a Source,
    tensor: &'a OutTensor,
    kind: Kind,
    /// `data` cannot fail; what went wrong is left here and the file thrown away.
    failure: &'a RefCell<Option<SourceError>>,
    on_tensor: &'a dyn Fn(usize),
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
            match self.source.tensor(&self.tensor.source_name) {
                Ok(tensor) => {
                    let tensor = tensor.to_kind(self.kind).contiguous();
                    tensor
                        .to_kind(self.kind)
                        .copy_data_u8(&mut bytes, tensor.numel());
                }
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
        .filter(|(unit, level)| !unit.levels[usize::from(**level)].edits.is_empty())
        .map(|(unit, _)| &unit.name)
        .collect();
    json!({"num_hidden_layers_dense": space.num_blocks(), "dropped": dropped, "levels": levels})
}
