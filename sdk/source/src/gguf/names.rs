//! Tensor names of GGUF files from Hugging Face's.

/// `[head_dim / 2]` divisors of the rotary frequencies, in files of Llama 3.1 and later.
pub const ROPE_FACTORS: &str = "rope_freqs.weight";
/// The head, absent where it is tied to the embedding.
pub(super) const HEAD: &str = "output.weight";

const WHOLE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", HEAD),
];

const IN_BLOCK: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// `model.layers.3.self_attn.q_proj.weight` is `blk.3.attn_q.weight`; an unknown name stays as it is.
pub fn to_gguf(name: &str) -> String {
    if let Some((_, gguf)) = WHOLE.iter().find(|(hf, _)| *hf == name) {
        return (*gguf).into();
    }
    let in_block = || {
        let (block_idx, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (layer, kind) = rest.rsplit_once('.')?;
        let (_, gguf) = IN_BLOCK.iter().find(|(hf, _)| *hf == layer)?;
        Some(format!("blk.{block_idx}.{gguf}.{kind}"))
    };
    in_block().unwrap_or_else(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_map() {
        let check = |hf: &str, gguf: &str| assert_eq!(to_gguf(hf), gguf);
        check("model.embed_tokens.weight", "token_embd.weight");
        check("lm_head.weight", "output.weight");
        check(
            "model.layers.12.self_attn.q_proj.bias",
            "blk.12.attn_q.bias",
        );
        check(
            "model.layers.0.mlp.down_proj.weight",
            "blk.0.ffn_down.weight",
        );
        check(
            "model.layers.7.post_attention_layernorm.weight",
            "blk.7.ffn_norm.weight",
        );
        check("something.else", "something.else");
    }
}
