//! A model whose rows take K-quants.

use std::fs;
use std::path::Path;

use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::places::fixture;

const NUM_BLOCKS: usize = 3;
const VOCAB_SIZE: usize = 384;
/// 256 divides it.
const HIDDEN: usize = 256;
/// 32 divides it and 256 does not.
const MLP: usize = 96;
const HEAD_DIM: usize = 64;

/// Writes a random Llama of 3 blocks in bf16 into `folder`, with the tokenizer of the fixture `tiny`: hidden size 256, MLP of 96, 4 heads
/// with 1 key and value head. The seed makes it the same everywhere.
pub fn write_wide_model(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixture("tiny").join(name), folder.join(name)).unwrap();
    }
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "vocab_size": VOCAB_SIZE, "hidden_size": HIDDEN, "intermediate_size": MLP, "num_hidden_layers": NUM_BLOCKS,
        "num_attention_heads": HIDDEN / HEAD_DIM, "num_key_value_heads": 1, "head_dim": HEAD_DIM, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": false,
    });
    fs::write(folder.join("config.json"), format!("{config:#}")).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut push = |name: String, shape: &[usize]| {
        let (low, high) = match shape {
            [_] => (0.5, 1.5),
            // A variance of 1.2² / columns.
            [_, columns] => {
                let end = 1.2 * (3.0 / *columns as f32).sqrt();
                (-end, end)
            }
            _ => unreachable!("vectors and matrices"),
        };
        let range = Uniform::new(low, high).unwrap();
        let count = shape.iter().product();
        let bytes = (0..count).flat_map(|_| {
            let number: f32 = range.sample(&mut rng);
            // The upper half of an f32 is a bf16.
            ((number.to_bits() >> 16) as u16).to_le_bytes()
        });
        tensors.push((name, shape.to_vec(), bytes.collect()));
    };
    push("model.embed_tokens.weight".into(), &[VOCAB_SIZE, HIDDEN]);
    for block in 0..NUM_BLOCKS {
        let mut push = |layer: &str, shape: &[usize]| {
            push(format!("model.layers.{block}.{layer}.weight"), shape)
        };
        push("input_layernorm", &[HIDDEN]);
        push("self_attn.q_proj", &[HIDDEN, HIDDEN]);
        push("self_attn.k_proj", &[HEAD_DIM, HIDDEN]);
        push("self_attn.v_proj", &[HEAD_DIM, HIDDEN]);
        push("self_attn.o_proj", &[HIDDEN, HIDDEN]);
        push("post_attention_layernorm", &[HIDDEN]);
        push("mlp.gate_proj", &[MLP, HIDDEN]);
        push("mlp.up_proj", &[MLP, HIDDEN]);
        push("mlp.down_proj", &[HIDDEN, MLP]);
    }
    push("model.norm.weight".into(), &[HIDDEN]);
    push("lm_head.weight".into(), &[VOCAB_SIZE, HIDDEN]);
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
}
