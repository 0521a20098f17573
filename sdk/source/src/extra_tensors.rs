//! Tensors that are in a model's files though its configuration says that there are none.
//!
//! Nobody reads them, so what is measured would be another model than the one that was trained.
//! One that is not known to be harmless is refused by its name. A head beside a configuration that
//! ties it to the embedding is kept where the two differ, as transformers does.

use std::collections::HashSet;

use crate::error::SourceError;
use crate::folder::ModelFolder;
use crate::gguf::{self, GgufFile, ROPE_FACTORS};
use crate::spec::ModelSpec;

/// How the names of tensors end that runtimes compute by themselves; older programs have saved
/// them.
const COMPUTED: [&str; 5] = [
    "rotary_emb.inv_freq",
    "rotary_emb.cos_cached",
    "rotary_emb.sin_cached",
    "attn.masked_bias",
    "attention.masked_bias",
];
/// As [`COMPUTED`], in GGUF files.
const COMPUTED_GGUF: [&str; 1] = ["attn_rot_embd.weight"];

/// Whether a folder has a head of its own, though its configuration ties it to the embedding.
pub(crate) fn has_own_head(spec: &ModelSpec, folder: &ModelFolder) -> bool {
    let head = format!("{}.weight", spec.head.name);
    let embedding = format!("{}.weight", spec.embedding.name);
    spec.head.tied && folder.has(&head) && !folder.are_equal(&head, &embedding)
}

/// Refuses tensors of a folder that the whole model `spec` does not have.
pub(crate) fn check_folder(spec: &ModelSpec, folder: &ModelFolder) -> Result<(), SourceError> {
    let tensors = spec.tensors();
    let in_files = |name: &str| folder.name_in_files(name);
    let known: HashSet<String> = tensors
        .iter()
        .map(|tensor| folder.name_of(tensor))
        .collect();
    let head = in_files(&format!("{}.weight", spec.head.name));
    // Of a model that is a part of what the files hold, the other parts are not ours to judge.
    let embedding = in_files(&format!("{}.weight", spec.embedding.name));
    let part = embedding
        .strip_suffix("embed_tokens.weight")
        .unwrap_or_default();
    let is_other_part = |name: &str| folder.is_part() && !name.starts_with(part);
    let is_known = |name: &&str| {
        known.contains(*name)
            || *name == head
            || is_other_part(name)
            || COMPUTED.iter().any(|end| name.ends_with(end))
            || folder.is_of_activations(name)
            || folder
                .quantized_weight_of(name)
                .is_some_and(|weight| known.contains(weight.as_str()))
            // Some writers give every layer a bias that adds nothing.
            || (name.ends_with(".bias") && folder.is_zero(name))
    };
    let mut extra = folder.names().filter(|name| !is_known(name));
    let Some(name) = extra.next() else {
        return Ok(());
    };
    Err(SourceError::UnexpectedTensor {
        file: folder.path().to_path_buf(),
        tensor: name.to_owned(),
        why: why(spec, name, &spec.blocks_name, "config.json says that it"),
        num_more: extra.count(),
    })
}

/// Refuses tensors of a GGUF file that the whole model `spec` does not have.
pub(crate) fn check_gguf(spec: &ModelSpec, gguf: &GgufFile) -> Result<(), SourceError> {
    let tensors = spec.tensors();
    let names = tensors
        .iter()
        .map(|tensor| gguf::names::of_tensor(spec, tensor.part, tensor.part.block_idx()));
    let known: HashSet<String> = names.collect();
    let factors = gguf::rope_factors(spec);
    let is_known = |name: &&str| {
        known.contains(*name)
            || *name == ROPE_FACTORS
            || factors.iter().any(|(factors, _)| factors == name)
            || COMPUTED_GGUF.iter().any(|end| name.ends_with(end))
    };
    let mut extra = gguf.names().filter(|name| !is_known(name));
    let Some(name) = extra.next() else {
        return Ok(());
    };
    Err(SourceError::UnexpectedTensor {
        file: gguf.path().to_path_buf(),
        tensor: name.to_owned(),
        why: why(spec, name, "blk", "the metadata says that it"),
        num_more: extra.count(),
    })
}

/// What contradicts a tensor, where that can be told: its block, or its kind.
fn why(spec: &ModelSpec, name: &str, blocks_name: &str, who_says: &str) -> String {
    let in_block = name
        .strip_prefix(blocks_name)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.split_once('.'));
    let block_idx: Option<usize> = in_block.and_then(|(idx, _)| idx.parse().ok());
    match block_idx {
        Some(idx) if idx >= spec.num_blocks() => {
            format!(": {who_says} has {} blocks", spec.num_blocks())
        }
        _ if name.ends_with(".bias") => format!(": {who_says} has no bias there"),
        _ => String::new(),
    }
}
