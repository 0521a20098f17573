//! The result as a Hugging Face folder that any runtime of the family loads; [`gguf`] writes it as
//! one file for llama.cpp, [`packed`] as a folder with packed weights, [`nemotron_nas`] as a folder
//! whose blocks may lack an attention or an MLP.
//!
//! Blocks that are dropped whole are left out and the rest renumbered; `num_hidden_layers` and
//! every list with an entry per block follow. A sub-block that is dropped alone keeps its tensors,
//! with an output projection of zeros: it adds exactly nothing, in every runtime. Compressed
//! weights are written decoded, in the run's dtype. Weights are streamed; no more than one tensor
//! is in memory.

#![forbid(unsafe_code)]

mod error;
mod expert_counts;
mod experts;
mod file_tensor;
pub mod gguf;
mod layout;
pub mod nemotron_nas;
pub mod packed;
mod safetensors_file;
mod shards;
mod stacked;
mod verify;

use std::path::Path;
use std::sync::Arc;

use evopress_model::{read_parts, read_tensor};
use evopress_plugin::Edit;
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use evopress_levels::Database;
use evopress_search::genotype::{Candidate, Genotype, SearchSpace};
use evopress_source::{HfFiles, Source};

pub use error::{ExportError, Result};
use expert_counts::Counts;
use file_tensor::{FileTensor, Sink};
use layout::{Layout, OutTensor, Stack};
pub use verify::verify;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Parameters that still do something: zeroed sub-blocks and pruned weights do not count.
    pub parameters: u64,
    /// Bytes of all weights files.
    pub weight_bytes: u64,
}

/// Writes the model that `genotype` stands for into `folder`, which exists and is empty.
/// `databases` are in the order of the methods. `progress` is told bytes written and bytes in all.
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
    progress: impl FnMut(u64, u64),
) -> Result<Written> {
    let layout = Layout::new(source, space, &space.candidate(genotype));
    let stacks = layout.stacks().into_iter();
    let tensors: Vec<_> = stacks
        .map(|stack| dense(source, databases, stack, kind))
        .collect();
    let weight_bytes = shards::write(&tensors, folder, progress)?;
    adapted_files(source, space, genotype, &layout, kind)?.write(folder)?;
    expert_counts::write_code(folder, &Counts::of(layout.num_experts()))?;
    Ok(Written {
        parameters: layout.num_parameters(),
        weight_bytes,
    })
}

/// What a candidate drops of a model's depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Blocks that are dropped whole.
    pub num_blocks: usize,
    /// Attentions and MLPs that are dropped alone.
    pub num_alone: usize,
    /// Those among them that formats with blocks without an attention or an MLP go without: all but
    /// the attention of the first block.
    pub num_omissible: usize,
}

impl Depth {
    /// Of a candidate.
    pub fn of(candidate: &Candidate) -> Self {
        let dropped = &candidate.dropped;
        let blocks = layout::kept_blocks(dropped);
        let num_blocks = dropped.attention.len() - blocks.len();
        let halves = blocks.iter().map(|block| {
            usize::from(block.is_without_attention) + usize::from(block.is_without_mlp)
        });
        Self {
            num_blocks,
            num_alone: 2 * blocks.len() - dropped.num_kept(),
            num_omissible: halves.sum(),
        }
    }
}

/// Whether a candidate leaves blocks with different numbers of experts: transformers then needs the
/// folder's own code.
pub fn differs_in_experts(source: &Source, candidate: &Candidate) -> bool {
    let blocks = layout::kept_blocks(&candidate.dropped);
    let by_block = layout::num_experts(source.spec(), &blocks);
    matches!(Counts::of(by_block), Counts::ByBlock(_))
}

/// Parameters that a candidate leaves working.
pub fn num_parameters(source: &Source, space: &SearchSpace, candidate: &Candidate) -> u64 {
    Layout::new(source, space, candidate).num_parameters()
}

/// A tensor of a file as plain numbers in the run's dtype, compressed weights decoded.
fn dense<'a>(
    source: &'a Source,
    databases: &'a [Arc<Database>],
    stack: Stack<'a>,
    kind: Kind,
) -> FileTensor<'a> {
    let (name, shape) = (stack.name_in_file().to_owned(), stack.shape());
    let bytes = move |sink: Sink<'_>| {
        let mut parts = stack.parts.iter();
        parts.try_for_each(|part| plain(source, databases, part, kind, sink))
    };
    FileTensor {
        name,
        dtype: if kind == Kind::Float {
            Dtype::F32
        } else {
            Dtype::BF16
        },
        shape,
        bytes: Box::new(bytes),
    }
}

/// Hands over the numbers of a tensor of the model.
fn plain(
    source: &Source,
    databases: &[Arc<Database>],
    tensor: &OutTensor<'_>,
    kind: Kind,
    sink: Sink<'_>,
) -> Result<()> {
    let mut hand_over = |numbers: Tensor| -> Result<()> {
        let numbers = numbers.f_to_kind(kind)?.f_contiguous()?;
        let mut bytes = vec![0; numbers.numel() * kind.elt_size_in_bytes()];
        numbers.f_copy_data_u8(&mut bytes, numbers.numel())?;
        sink(&bytes)
    };
    if tensor.is_zero {
        let shape: Vec<i64> = tensor.shape.iter().map(|&extent| extent as i64).collect();
        return hand_over(Tensor::f_zeros(&shape, (kind, Device::Cpu))?);
    }
    if let Some(id) = tensor.level {
        let database = &databases[usize::from(id.method_idx)];
        return hand_over(database.decode(id, kind, Device::Cpu)?);
    }
    if let Some(rows) = tensor.rows.as_deref() {
        let whole = read_tensor(source, &tensor.source.name)?;
        return hand_over(kept_rows(whole, Some(rows))?);
    }
    let mut parts = read_parts(source, &tensor.source.name)?;
    parts.try_for_each(|part| hand_over(part?))
}

/// The rows of a tensor of the source that are left; without a list, all.
fn kept_rows(weight: Tensor, rows: Option<&[i64]>) -> Result<Tensor> {
    match rows {
        Some(rows) => {
            let rows = Tensor::f_from_slice(rows)?.f_to_device(weight.device())?;
            Ok(weight.f_index_select(0, &rows)?)
        }
        None => Ok(weight),
    }
}

/// All files of a folder but the weights: the source's, with what the compression has changed.
fn adapted_files(
    source: &Source,
    space: &SearchSpace,
    genotype: &Genotype,
    layout: &Layout<'_>,
    kind: Kind,
) -> Result<HfFiles> {
    let mut files = source.hf_files()?.clone();
    adapt_config(&mut files.config, source.spec().num_blocks(), layout, kind);
    expert_counts::adapt(&mut files.config, &Counts::of(layout.num_experts()));
    files
        .config
        .insert("evopress".into(), describe(space, genotype));
    Ok(files)
}

fn adapt_config(
    config: &mut Map<String, Value>,
    num_blocks: usize,
    layout: &Layout<'_>,
    kind: Kind,
) {
    let kept_blocks = layout.kept_blocks();
    for (key, value) in config.iter_mut() {
        // A model with as many end tokens as blocks has a list of that length that is about
        // something else.
        let is_other =
            key == "architectures" || key.ends_with("token_id") || key.ends_with("token_ids");
        if let Value::Array(list) = value
            && list.len() == num_blocks
            && !is_other
        {
            let mut idx = 0;
            list.retain(|_| {
                idx += 1;
                kept_blocks.contains(&(idx - 1))
            });
        }
    }
    config.insert("num_hidden_layers".into(), json!(kept_blocks.len()));
    config.insert(
        "torch_dtype".into(),
        json!(if kind == Kind::Float {
            "float32"
        } else {
            "bfloat16"
        }),
    );
}

/// What the config and the model card say of the compression; unit names are those of the dense
/// model.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_depth_is_counted() {
        let mut candidate = Candidate::dense(4, 0);
        assert_eq!(Depth::of(&candidate), Depth::default());
        candidate.dropped.attention = vec![true, false, true, true];
        candidate.dropped.mlp = vec![false, true, true, false];
        let expected = Depth {
            num_blocks: 1,
            num_alone: 3,
            num_omissible: 2,
        };
        assert_eq!(Depth::of(&candidate), expected);
    }
}
