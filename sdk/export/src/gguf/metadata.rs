//! The file's metadata: the source's, and what has changed.

use std::collections::BTreeMap;

use evopress_plugin::GgmlType;

use super::FORMAT;
use super::tensors::{Tensors, idle_width, mlp_width};
use crate::describe;
use crate::error::Result;
use crate::expert_counts::Counts;
use crate::layout::{KeptBlock, Layout};
use evopress_search::genotype::{Genotype, SearchSpace};
use evopress_source::Source;
use evopress_source::gguf::{DECI, Entries};
use evopress_source::spec::AttentionSpec;

/// Of the layouts of blocks: all of today's.
const QUANTIZATION_VERSION: u32 = 2;

pub(super) fn entries(
    source: &Source,
    space: &SearchSpace,
    genotype: &Genotype,
    layout: &Layout<'_>,
    tensors: &Tensors<'_>,
) -> Result<Entries> {
    let mut entries = source.gguf_entries()?;
    let architecture = source.gguf_architecture();
    let (num_blocks, kept) = (layout.spec.num_blocks(), layout.kept_blocks());
    entries.keep_blocks(&format!("{architecture}."), num_blocks, &kept);
    entries.u32(&format!("{architecture}.block_count"), kept.len() as u32);
    if let Some(num_experts) = Counts::of(layout.num_experts()).one(FORMAT)? {
        entries.u32(&format!("{architecture}.expert_count"), num_experts);
    }
    entries.u32("general.quantization_version", QUANTIZATION_VERSION);
    entries.u32("general.file_type", file_type(tensors));
    let description = describe(space, genotype).to_string();
    entries.string("evopress.compression", &description);
    if tensors.is_deci() {
        as_deci(&mut entries, architecture, layout);
    }
    Ok(entries)
}

/// The keys of `deci`: heads and width of the MLP for each block.
fn as_deci(entries: &mut Entries, architecture: &str, layout: &Layout<'_>) {
    entries.rename(&format!("{architecture}."), &format!("{DECI}."));
    entries.string("general.architecture", DECI);
    let mut by_block = |key: &str, number: &dyn Fn(&KeptBlock) -> i64| {
        let numbers: Vec<i32> = layout.blocks.iter().map(|it| number(it) as i32).collect();
        entries.i32s(&format!("{DECI}.{key}"), &numbers);
    };
    let heads = |block: &KeptBlock, number: fn(&AttentionSpec) -> i64| {
        let attention = layout.spec.blocks[block.idx].attention.as_ref();
        let attention = attention.filter(|_| !block.is_without_attention);
        attention.map_or(0, number)
    };
    by_block("attention.head_count", &|it| heads(it, |it| it.num_heads));
    by_block("attention.head_count_kv", &|it| {
        heads(it, |it| it.num_kv_heads)
    });
    by_block("feed_forward_length", &|block| {
        let width = mlp_width(layout.spec, block.idx);
        match block.is_without_mlp {
            true => idle_width(width) as i64,
            false => width as i64,
        }
    });
}

/// llama.cpp's number for a file that is mostly of one type: that of most weights.
fn file_type(tensors: &Tensors<'_>) -> u32 {
    let mut weights: BTreeMap<GgmlType, u64> = BTreeMap::new();
    for tensor in tensors.iter() {
        *weights.entry(tensor.ggml_type).or_default() += tensor.num_weights();
    }
    let most = weights.into_iter().max_by_key(|(_, count)| *count);
    match most.map_or(GgmlType::F32, |(it, _)| it) {
        GgmlType::F32 => 0,
        GgmlType::F16 => 1,
        GgmlType::Q4_0 => 2,
        GgmlType::Q4_1 => 3,
        GgmlType::Q8_0 => 7,
        GgmlType::Q5_0 => 8,
        GgmlType::Q5_1 => 9,
        GgmlType::Q2K => 10,
        GgmlType::Q3K => 12,
        GgmlType::Q4K => 15,
        GgmlType::Q5K => 17,
        GgmlType::Q6K => 18,
        GgmlType::Iq4Nl => 25,
        GgmlType::Iq4Xs => 30,
        GgmlType::Bf16 => 32,
        GgmlType::Q2_0 => 41,
    }
}
