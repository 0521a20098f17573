//! Tensor names of GGUF files.

use crate::spec::{BlockSpec, LayerInput, LayerRole, LayerSpec, ModelSpec, NormPlace, TensorPart};

/// `[head_dim / 2]` divisors of the rotary frequencies, in files of Llama 3.1 and later.
pub const ROPE_FACTORS: &str = "rope_freqs.weight";
/// `[width / 2]` divisors of the rotary frequencies in sequences beyond the original context.
pub const ROPE_FACTORS_LONG: &str = "rope_factors_long.weight";
/// `[width / 2]` divisors of the rotary frequencies in sequences within the original context.
pub const ROPE_FACTORS_SHORT: &str = "rope_factors_short.weight";
/// The head, absent where it is tied to the embedding.
pub const HEAD: &str = "output.weight";

/// How much queries grow from one original context to the next; a key, without the architecture.
pub const TEMPERATURE_SCALE: &str = "attention.temperature_scale";
/// What a logarithm in the attention factor of YaRN is multiplied with; a key, as
/// [`TEMPERATURE_SCALE`].
pub const YARN_LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";

/// The router of a block's experts.
pub const ROUTER: &str = "ffn_gate_inp";
/// The gate of a block's shared expert.
pub const SHARED_GATE: &str = "ffn_gate_inp_shexp";

/// The name of a tensor of `spec`: `blk.3.attn_q.weight` for the weight of block 3's queries.
/// `block_idx` is the block's number in the file, which is another where blocks are left out.
pub fn of_tensor(spec: &ModelSpec, part: TensorPart, block_idx: Option<usize>) -> String {
    let idx = block_idx.unwrap_or_default();
    match part {
        TensorPart::Embedding => "token_embd.weight".into(),
        TensorPart::FinalNorm => "output_norm.weight".into(),
        TensorPart::Head => HEAD.into(),
        TensorPart::Router { .. } => in_block(idx, ROUTER, "weight"),
        TensorPart::SharedGate { .. } => in_block(idx, SHARED_GATE, "weight"),
        TensorPart::Norm {
            block_idx,
            norm_idx,
        } => {
            let place = spec.blocks[block_idx].norms[norm_idx].place;
            in_block(idx, of_norm(place), "weight")
        }
        TensorPart::Weight { block_idx, slot } => {
            in_block(idx, in_block_of(&spec.blocks[block_idx], slot), "weight")
        }
        TensorPart::Bias { block_idx, slot } => {
            in_block(idx, in_block_of(&spec.blocks[block_idx], slot), "bias")
        }
    }
}

/// The name of a block's tensor: `blk.3.attn_q.weight` of block 3, `attn_q` and `weight`.
pub fn in_block(block_idx: usize, module: &str, kind: &str) -> String {
    format!("blk.{block_idx}.{module}.{kind}")
}

fn in_block_of(block: &BlockSpec, slot: usize) -> &'static str {
    let layer = &block.layers[slot];
    match layer.expert.is_none() && block.experts().is_some() {
        true => of_shared_expert(layer.role),
        false => of_layer(layer),
    }
}

/// The name within the block of the tensor that a layer's weight lies in. Layers that share a
/// tensor in Hugging Face's files share one here.
pub fn of_layer(layer: &LayerSpec) -> &'static str {
    if layer.expert.is_some() {
        return of_experts(layer.role);
    }
    match (&layer.stacked, layer.input) {
        (Some(_), LayerInput::AttentionInput) => "attn_qkv",
        (Some(_), LayerInput::MlpInput) => "ffn_up",
        _ => of_role(layer.role),
    }
}

/// A layer's name within the block, where it has a tensor of its own.
pub fn of_role(role: LayerRole) -> &'static str {
    match role {
        LayerRole::Query => "attn_q",
        LayerRole::Key => "attn_k",
        LayerRole::Value => "attn_v",
        LayerRole::Output => "attn_output",
        LayerRole::Gate => "ffn_gate",
        LayerRole::Up => "ffn_up",
        LayerRole::Down => "ffn_down",
    }
}

/// The name of the tensor of a layer of all experts; of layers that experts have not, the layer's.
fn of_experts(role: LayerRole) -> &'static str {
    match role {
        LayerRole::Gate => "ffn_gate_exps",
        LayerRole::Up => "ffn_up_exps",
        LayerRole::Down => "ffn_down_exps",
        _ => of_role(role),
    }
}

/// The name of a layer of the expert that all tokens take; of other layers, the layer's.
fn of_shared_expert(role: LayerRole) -> &'static str {
    match role {
        LayerRole::Gate => "ffn_gate_shexp",
        LayerRole::Up => "ffn_up_shexp",
        LayerRole::Down => "ffn_down_shexp",
        _ => of_role(role),
    }
}

/// A norm's name, within the block where it is of one.
pub fn of_norm(place: NormPlace) -> &'static str {
    match place {
        NormPlace::BeforeAttention => "attn_norm",
        NormPlace::Query => "attn_q_norm",
        NormPlace::Key => "attn_k_norm",
        NormPlace::AfterAttention => "post_attention_norm",
        NormPlace::BeforeMlp => "ffn_norm",
        NormPlace::AfterMlp => "post_ffw_norm",
        NormPlace::Final => "output_norm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::small;

    #[test]
    fn names_of_all_parts() {
        let spec = small::biased();
        let tensors = spec.tensors();
        let check = |hugging_face: &str, gguf: &str| {
            let tensor = tensors.iter().find(|it| it.name == hugging_face).unwrap();
            let block_idx = tensor.part.block_idx();
            assert_eq!(of_tensor(&spec, tensor.part, block_idx), gguf);
        };
        check("model.embed_tokens.weight", "token_embd.weight");
        check("model.norm.weight", "output_norm.weight");
        check("lm_head.weight", "output.weight");
        check("model.layers.1.self_attn.q_proj.bias", "blk.1.attn_q.bias");
        check(
            "model.layers.0.mlp.down_proj.weight",
            "blk.0.ffn_down.weight",
        );
        check(
            "model.layers.1.post_attention_layernorm.weight",
            "blk.1.ffn_norm.weight",
        );
        let queries = TensorPart::Weight {
            block_idx: 1,
            slot: 0,
        };
        assert_eq!(of_tensor(&spec, queries, Some(0)), "blk.0.attn_q.weight");
    }
}
