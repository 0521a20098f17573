//! The layout of Nemotron-NAS (DeciLM): a Llama whose `block_configs` say of each block's attention
//! and MLP whether they are there and how large they are. Depth-pruned models are written so.

use std::path::Path;

use evopress_core::json;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::SourceError;
use crate::reduced::{Reduced, StoredBlock};

/// The layout's `model_type`.
pub const MODEL_TYPE: &str = "nemotron-nas";
/// What the layout's sizes of an MLP are rounded up to.
const MLP_MULTIPLE: i64 = 256;

#[derive(Deserialize)]
struct Blocks {
    block_configs: Vec<BlockConfig>,
}

#[derive(Deserialize)]
struct BlockConfig {
    attention: Attention,
    ffn: Mlp,
}

#[derive(Deserialize)]
struct Attention {
    no_op: bool,
    n_heads_in_group: Option<i64>,
}

#[derive(Deserialize)]
struct Mlp {
    no_op: bool,
    ffn_mult: Option<f64>,
}

#[derive(Deserialize)]
struct Extents {
    hidden_size: i64,
    num_attention_heads: i64,
    num_hidden_layers: usize,
}

/// Width of the MLP that runtimes of the layout make of `ffn_mult`.
pub fn mlp_width(ffn_mult: f64, hidden_size: i64) -> i64 {
    let width = (2.0 * ffn_mult * hidden_size as f64 / 3.0).min(1e12) as i64;
    (width + MLP_MULTIPLE - 1) / MLP_MULTIPLE * MLP_MULTIPLE
}

/// The `ffn_mult` of an MLP that is `width` wide; none where no number is.
pub fn ffn_mult(width: i64, hidden_size: i64) -> Option<f64> {
    let factor = 1.5 * width as f64 / hidden_size as f64;
    (mlp_width(factor, hidden_size) == width).then_some(factor)
}

/// Turns a config of the layout into that of the Llama that it stands for.
pub(super) fn as_llama(
    config: &mut Map<String, Value>,
    file: &Path,
) -> Result<Reduced, SourceError> {
    let malformed = |what: String| SourceError::malformed(file, what);
    let extents: Extents = json::fields_of(config).map_err(malformed)?;
    let Blocks {
        block_configs: blocks,
    } = json::fields_of(config).map_err(malformed)?;
    config.shift_remove("block_configs");
    if blocks.len() != extents.num_hidden_layers {
        return Err(malformed(format!(
            "block_configs has {} entries, num_hidden_layers is {}",
            blocks.len(),
            extents.num_hidden_layers
        )));
    }
    let mut stored = Vec::new();
    let (mut kv_heads, mut mlp_widths) = (Vec::new(), Vec::new());
    for (idx, block) in blocks.iter().enumerate() {
        let missing = |what: &str| malformed(format!("block_configs[{idx}] has no {what}"));
        if !block.attention.no_op {
            let in_group = block.attention.n_heads_in_group.filter(|it| *it > 0);
            let in_group = in_group.ok_or_else(|| missing("n_heads_in_group"))?;
            kv_heads.push(extents.num_attention_heads / in_group);
        }
        let mut width = 0;
        if !block.ffn.no_op {
            let factor = block.ffn.ffn_mult.ok_or_else(|| missing("ffn_mult"))?;
            width = mlp_width(factor, extents.hidden_size);
            mlp_widths.push(width);
        }
        stored.push(StoredBlock {
            attention: !block.attention.no_op,
            mlp_width: width,
        });
    }
    for (key, mut sizes) in [
        ("num_key_value_heads", kv_heads),
        ("intermediate_size", mlp_widths),
    ] {
        sizes.dedup();
        match sizes[..] {
            // No block says it: what the config says stands.
            [] => {}
            [size] => {
                config.insert(key.into(), json!(size));
            }
            _ => {
                return Err(malformed(format!(
                    "{key} differs between blocks: {sizes:?}"
                )));
            }
        }
    }
    config.insert("model_type".into(), json!("llama"));
    Ok(Reduced { blocks: stored })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_that_are_multiples_of_256_have_a_factor() {
        for hidden_size in [64, 576, 960, 2048, 3072, 4096, 5120, 8192, 16384] {
            for width in (256..40_000).step_by(256) {
                let factor = ffn_mult(width, hidden_size).unwrap();
                assert_eq!(mlp_width(factor, hidden_size), width);
            }
            assert_eq!(ffn_mult(1000, hidden_size), None);
        }
        // As in Llama-3.3-Nemotron-Super-49B.
        assert_eq!(mlp_width(5.25, 8192), 28672);
        assert_eq!(mlp_width(1.3125, 8192), 7168);
    }

    #[test]
    fn a_config_of_the_layout_becomes_that_of_a_llama() {
        let block = |attention: bool, mlp: bool| {
            json!({
                "attention": {"no_op": !attention, "n_heads_in_group": attention.then_some(2)},
                "ffn": {"no_op": !mlp, "ffn_mult": mlp.then_some(6.0)},
            })
        };
        let config = |num_blocks: usize| {
            let config = json!({
                "model_type": MODEL_TYPE, "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": num_blocks,
                "block_configs": [block(true, false), block(false, true)],
            });
            config.as_object().unwrap().clone()
        };
        let mut llama = config(2);
        let reduced = as_llama(&mut llama, "config.json".as_ref()).unwrap();
        let stored = |attention, mlp_width| StoredBlock {
            attention,
            mlp_width,
        };
        assert_eq!(reduced.blocks, [stored(true, 0), stored(false, 256)]);
        assert_eq!(llama["model_type"], "llama");
        assert_eq!(llama["num_key_value_heads"], 2);
        assert_eq!(llama["intermediate_size"], 256);
        let error = as_llama(&mut config(3), "config.json".as_ref()).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.contains("block_configs has 2 entries, num_hidden_layers is 3"),
            "{sentence}"
        );
    }
}
