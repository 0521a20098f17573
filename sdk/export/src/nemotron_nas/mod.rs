//! The result as a Hugging Face folder in the layout of Nemotron-NAS (DeciLM), whose blocks may
//! lack an attention or an MLP: a sub-block that is dropped has no tensors, and runtimes of the
//! layout go past it.
//!
//! `block_configs` has for each block `attention: {no_op, n_heads_in_group, …}` and
//! `ffn: {no_op, ffn_mult, …}`; an MLP is `2 · ffn_mult · hidden_size / 3` wide, rounded up to a
//! multiple of 256. Blocks that are dropped whole are left out and the rest renumbered, as in the
//! other formats; the first block keeps its attention, with zeros where it is dropped, because vLLM
//! begins the residual stream there.
//!
//! Neither transformers nor vLLM has a config class for the layout of its own; both take it from
//! the folder (`trust_remote_code`). So the folder has one, and a model class of a few lines for
//! transformers.

use std::path::Path;
use std::sync::Arc;

use evopress_plugin::Edit;
use serde_json::{Value, json};
use tch::Kind;

use super::layout::{KeptBlock, Layout};
use super::{Written, adapted_files, dense, shards};
use crate::error::{ExportError, Result};
use evopress_levels::Database;
use evopress_search::genotype::{Genotype, SearchSpace};
use evopress_source::Source;
use evopress_source::nemotron_nas::{MODEL_TYPE, ffn_mult};
use evopress_source::spec::ModelSpec;

/// The family whose blocks the layout describes.
const FAMILY: &str = "llama";

/// Python for runtimes that ask the folder for it, by file name.
const CODE: [(&str, &str); 2] = [
    (
        "configuration_decilm.py",
        include_str!("configuration_decilm.py"),
    ),
    ("modeling_decilm.py", include_str!("modeling_decilm.py")),
];

/// Whether the layout has a place for a model: known before anything is searched.
///
/// # Errors
/// When it is no Llama, or its MLP has a width that the layout cannot say.
pub fn check(source: &Source) -> Result<()> {
    let spec = source.spec();
    if spec.architecture != FAMILY {
        return Err(ExportError::Format(format!(
            "format `{MODEL_TYPE}` is that of a `{FAMILY}`, found a `{}`; `huggingface` has every result",
            spec.architecture
        )));
    }
    let mut widths = spec
        .blocks
        .iter()
        .filter_map(|block| block.mlp.as_ref().map(|mlp| mlp.intermediate_size));
    match widths.find(|&width| ffn_mult(width, spec.hidden_size).is_none()) {
        None => Ok(()),
        Some(width) => Err(ExportError::Format(format!(
            "format `{MODEL_TYPE}` has MLPs whose width is a multiple of 256, found a width of {width} in this model; `huggingface` has every result"
        ))),
    }
}

/// Whether results of a search may lack a sub-block: known before anything is searched.
///
/// # Errors
/// When no level drops one.
pub fn check_space(space: &SearchSpace) -> Result<()> {
    let mut edits = space
        .units()
        .iter()
        .flat_map(|unit| unit.levels.iter().flat_map(|level| &level.edits));
    if edits.any(|edit| !matches!(edit, Edit::Replace { .. })) {
        return Ok(());
    }
    Err(ExportError::Format(format!(
        "format `{MODEL_TYPE}` goes without attentions and MLPs that are dropped, as the method `drop` does it, found no such level; `huggingface` has every result"
    )))
}

/// Writes the model that `genotype` stands for into `folder`, which exists and is empty.
/// `databases` are in the order of the methods, `kind` is the run's. `progress` is told bytes
/// written and bytes in all.
///
/// # Errors
/// What [`check`] refuses, a tensor that cannot be read, or a file that cannot be written.
pub fn write(
    source: &Source,
    space: &SearchSpace,
    databases: &[Arc<Database>],
    genotype: &Genotype,
    kind: Kind,
    folder: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Written> {
    check(source)?;
    let layout = Layout::new(source, space, &space.candidate(genotype));
    let stacks = layout.stacks().into_iter();
    let stored = stacks.filter(|stack| stack.parts[0].omissible.is_none());
    let tensors: Vec<_> = stored
        .map(|stack| dense(source, databases, stack, kind))
        .collect();
    let weight_bytes = shards::write(&tensors, folder, progress)?;
    let mut files = adapted_files(source, space, genotype, &layout, kind)?;
    let blocks = layout
        .blocks
        .iter()
        .map(|block| block_config(block, layout.spec));
    let settings = [
        ("model_type", json!(MODEL_TYPE)),
        ("architectures", json!(["DeciLMForCausalLM"])),
        (
            "auto_map",
            json!({
                "AutoConfig": "configuration_decilm.DeciLMConfig",
                "AutoModelForCausalLM": "modeling_decilm.DeciLMForCausalLM",
            }),
        ),
        ("block_configs", blocks.collect()),
    ];
    for (key, value) in settings {
        files.config.insert(key.into(), value);
    }
    files.write(folder)?;
    for (name, text) in CODE {
        let file = folder.join(name);
        std::fs::write(&file, text).map_err(ExportError::io(&file))?;
    }
    Ok(Written {
        parameters: layout.num_parameters(),
        weight_bytes,
    })
}

/// A block's entry, with every key that NVIDIA's own models have.
fn block_config(kept: &KeptBlock, spec: &ModelSpec) -> Value {
    let block = &spec.blocks[kept.idx];
    let attention = block.attention.as_ref();
    let in_group = attention.filter(|_| !kept.is_without_attention);
    let in_group = in_group.map(|it| it.num_heads / it.num_kv_heads);
    let mlp = block.mlp.as_ref().filter(|_| !kept.is_without_mlp);
    let ffn_mult = mlp.and_then(|mlp| ffn_mult(mlp.intermediate_size, spec.hidden_size));
    json!({
        "attention": {
            "no_op": kept.is_without_attention,
            "n_heads_in_group": in_group,
            "replace_with_linear": false,
            "num_sink_tokens": null,
            "sparsify": null,
            "unshifted_sink": false,
            "use_prefill_window_in_sink_attention": false,
            "window_length": null,
        },
        "ffn": {
            "no_op": kept.is_without_mlp,
            "ffn_mult": ffn_mult,
            "replace_with_linear": false,
            "sparsify": null,
        },
    })
}
