//! Outlines of models to try methods with.

use crate::{LayerOutline, ModelOutline, SubBlock};

/// A layer: name within the block, sub-block, expert, input within the block, rows and columns.
type Row = (String, SubBlock, Option<u32>, u32, u64, u64);

/// Query, key, value and output projections: hidden size 64, 4 heads with 2 key and value heads.
fn attention() -> Vec<Row> {
    let row = |name: &str, input, rows| {
        let name = format!("self_attn.{name}");
        (name, SubBlock::Attention, None, input, rows, 64)
    };
    vec![
        row("q_proj", 0, 64),
        row("k_proj", 0, 32),
        row("v_proj", 0, 32),
        row("o_proj", 1, 64),
    ]
}

/// Gate, up and down projections of 160 features, which read `input` and the one after it.
fn mlp(module: &str, expert_idx: Option<u32>, input: u32) -> Vec<Row> {
    let row = |name: &str, input, rows, columns| {
        let name = format!("{module}.{name}");
        (name, SubBlock::Mlp, expert_idx, input, rows, columns)
    };
    vec![
        row("gate_proj", input, 160, 64),
        row("up_proj", input, 160, 64),
        row("down_proj", input + 1, 64, 160),
    ]
}

fn outline(num_blocks: u32, of_block: &[Row]) -> ModelOutline {
    let num_inputs = of_block.iter().map(|row| row.3 + 1).max().unwrap_or(0);
    let layer = |block_idx: u32, row: &Row| {
        let (name, sub_block, expert_idx, input, out_features, in_features) = row;
        LayerOutline {
            name: format!("model.layers.{block_idx}.{name}"),
            block_idx,
            sub_block: *sub_block,
            expert_idx: *expert_idx,
            input_idx: block_idx * num_inputs + input,
            out_features: *out_features,
            in_features: *in_features,
            has_bias: false,
        }
    };
    let blocks = 0..num_blocks;
    let layers = blocks.flat_map(|block_idx| of_block.iter().map(move |row| layer(block_idx, row)));
    ModelOutline {
        num_blocks,
        layers: layers.collect(),
        bytes_per_weight: 2,
    }
}

/// The outline of a Llama model with grouped-query attention in bf16: hidden size 64, 4 heads with
/// 2 key and value heads, 160 MLP features.
pub fn llama_outline(num_blocks: u32) -> ModelOutline {
    let mut of_block = attention();
    of_block.extend(mlp("mlp", None, 2));
    outline(num_blocks, &of_block)
}

/// The outline of a mixture of experts in bf16. Its blocks are those of [`llama_outline`], with
/// `num_experts` MLPs in place of one.
pub fn mixture_outline(num_blocks: u32, num_experts: u32) -> ModelOutline {
    let mut of_block = attention();
    for expert_idx in 0..num_experts {
        let module = format!("mlp.experts.{expert_idx}");
        of_block.extend(mlp(&module, Some(expert_idx), 2 + 2 * expert_idx));
    }
    outline(num_blocks, &of_block)
}
