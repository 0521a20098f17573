//! Random models with experts: Qwen3-MoE of any size.

use std::path::Path;

use serde_json::json;

use crate::random_model::{Tensors, VOCAB_SIZE, write_files};

/// The extents of a Qwen3-MoE.
#[derive(Debug, Clone, Copy)]
pub struct ExpertsShape {
    /// Blocks, all with experts.
    pub num_blocks: usize,
    /// Experts of a block.
    pub num_experts: usize,
    /// Experts that a token takes.
    pub num_active: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of an expert.
    pub intermediate: usize,
}

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 16;

/// Writes a random model in bf16 into `folder`: 4 heads of 16 with 2 key and value heads.
pub fn write_experts_model(folder: &Path, shape: ExpertsShape) {
    let ExpertsShape {
        num_blocks,
        num_experts,
        num_active,
        hidden,
        intermediate,
    } = shape;
    let config = json!({
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "vocab_size": VOCAB_SIZE, "hidden_size": hidden, "intermediate_size": intermediate, "moe_intermediate_size": intermediate,
        "num_hidden_layers": num_blocks, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 0, "eos_token_id": 1,
        "tie_word_embeddings": false, "attention_bias": false, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "num_experts": num_experts, "num_experts_per_tok": num_active, "norm_topk_prob": true,
    });
    let mut tensors = Tensors::new(|_| 1.0);
    tensors.push("model.embed_tokens.weight", &[VOCAB_SIZE, hidden]);
    for block in 0..num_blocks {
        let mut push = |layer: &str, shape: &[usize]| {
            tensors.push(&format!("model.layers.{block}.{layer}.weight"), shape);
        };
        push("input_layernorm", &[hidden]);
        push("self_attn.q_proj", &[HEADS * HEAD_DIM, hidden]);
        push("self_attn.k_proj", &[KV_HEADS * HEAD_DIM, hidden]);
        push("self_attn.v_proj", &[KV_HEADS * HEAD_DIM, hidden]);
        push("self_attn.o_proj", &[hidden, HEADS * HEAD_DIM]);
        push("self_attn.q_norm", &[HEAD_DIM]);
        push("self_attn.k_norm", &[HEAD_DIM]);
        push("post_attention_layernorm", &[hidden]);
        push("mlp.gate", &[num_experts, hidden]);
        for expert in 0..num_experts {
            let mut push = |layer: &str, shape: &[usize]| {
                push(&format!("mlp.experts.{expert}.{layer}"), shape);
            };
            push("gate_proj", &[intermediate, hidden]);
            push("up_proj", &[intermediate, hidden]);
            push("down_proj", &[hidden, intermediate]);
        }
    }
    tensors.push("model.norm.weight", &[hidden]);
    tensors.push("lm_head.weight", &[VOCAB_SIZE, hidden]);
    write_files(folder, &config, &tensors);
}
