//! The result as one GGUF file for llama.cpp.
//!
//! - Layers at a level of ggml's own formats are written block for block as the level database has
//!   them; other levels decoded, or, where nothing is lost, as codes of a type of blocks of 32. All
//!   else is as in the source, a GGUF file's quantized tensors with their own bytes.
//! - llama.cpp turns neighbouring features in its rotary embedding where Hugging Face turns halves
//!   of a head, so rows of q and k are in another order. Blocks lie within rows, so rows move as
//!   bytes.
//! - Blocks that are dropped whole are left out, the rest renumbered, and the block count and every
//!   array with an entry per block follow.
//! - Layers that share a tensor in Hugging Face's files share one here, which has one type.
//! - Norms whose weights lack a 1 in Hugging Face's files have it here.
//! - Where a sub-block is dropped alone the architecture is `deci`, a `llama` with numbers for each
//!   block. A block without an attention has `head_count` 0 and no tensors for it, and llama.cpp
//!   goes to the MLP at once. A width of 0 for the MLP would make it discard the attention's output
//!   too, so an MLP that is dropped is there with the least width, of zeros: it adds exactly
//!   nothing in next to no time. The first block keeps its attention, with zeros, because llama.cpp
//!   takes the width of the heads from there.
//!
//! Tensors are streamed; no more than one is in memory. The file has its name when it is whole and
//! on disk.

mod metadata;
mod repack;
mod rows;
mod tensors;
mod write;

use std::path::Path;
use std::sync::Arc;

use tch::Kind;

use super::Written;
use super::layout::Layout;
use crate::error::{ExportError, Result};
use crate::{expert_counts, stacked};
use evopress_levels::Database;
use evopress_search::genotype::{Genotype, SearchSpace};
use evopress_source::Source;
use evopress_source::gguf::names;
use evopress_source::spec::LayerSpec;

use tensors::Tensors;

const FORMAT: &str = "gguf";

/// Whether a model can become a GGUF file: known before anything is searched.
///
/// # Errors
/// When the model's tokenizer cannot be said in GGUF's terms, or llama.cpp would compute another
/// model.
pub fn check(source: &Source) -> Result<()> {
    Ok(source.gguf_entries().map(drop)?)
}

/// Whether results of a search can be a GGUF file: known before anything is searched.
///
/// # Errors
/// When layers that share a tensor there may have different levels, or when a block may be left
/// out that llama.cpp counts.
pub fn check_space(source: &Source, space: &SearchSpace) -> Result<()> {
    let of_file = |layer: &LayerSpec| {
        let is_shared = layer.stacked.is_some() || layer.expert.is_some();
        is_shared.then(|| names::of_layer(layer).to_owned())
    };
    stacked::check_by(source, space, FORMAT, of_file)?;
    expert_counts::check(space, FORMAT)?;
    match source.gguf_told_by_number() {
        Some(what) if stacked::may_lose_blocks(space) => Err(ExportError::Format(format!(
            "format `{FORMAT}` goes without blocks that are dropped whole, but llama.cpp's `{}` tells {what}; `huggingface` has every result",
            source.gguf_architecture()
        ))),
        _ => Ok(()),
    }
}

/// Whether files of a model go without sub-blocks that are dropped alone: where llama.cpp's `deci`
/// is that model otherwise.
pub fn goes_without(source: &Source) -> bool {
    tensors::has_deci(source)
}

/// Writes the model that `genotype` stands for to `file`, whose folder exists. `databases` are in
/// the order of the methods, `kind` is the run's. `progress` is told bytes written and bytes in
/// all.
///
/// # Errors
/// A tensor that cannot be read, a tokenizer that GGUF has no words for, or a file that cannot be
/// written.
pub fn write(
    source: &Source,
    space: &SearchSpace,
    databases: &[Arc<Database>],
    genotype: &Genotype,
    kind: Kind,
    file: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Written> {
    let layout = Layout::new(source, space, &space.candidate(genotype));
    let tensors = Tensors::new(source, space, databases, &layout, kind)?;
    let entries = metadata::entries(source, space, genotype, &layout, &tensors)?;
    write::write(&entries, &tensors, file, progress)?;
    Ok(Written {
        parameters: layout.num_parameters(),
        weight_bytes: tensors.size_bytes(),
    })
}
