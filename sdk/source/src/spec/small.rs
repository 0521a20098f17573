//! A small specification for tests inside the crate.

use super::block::{AttentionSpec, BlockSpec, MlpSpec, NormPlace, NormSpec};
use super::layer::{LayerRole, LayerSpec};
use super::model::{EmbeddingSpec, HeadSpec, ModelSpec};
use super::{Activation, ExpertsSpec, Rope, RopeScaling, SharedExpertSpec};

/// Two blocks of width 8 with two heads, one key/value head, an MLP of 24 and biases everywhere.
pub(crate) fn biased() -> ModelSpec {
    use LayerRole::{Down, Gate, Key, Output, Query, Up, Value};
    let layer = |name, role, shape| LayerSpec::new(name, role, shape, true);
    let norm = |name: &str, place| NormSpec {
        name: name.into(),
        place,
        width: 8,
        eps: 1e-5,
        is_offset: false,
    };
    let block = BlockSpec {
        layers: vec![
            layer("self_attn.q_proj", Query, [8, 8]),
            layer("self_attn.k_proj", Key, [4, 8]),
            layer("self_attn.v_proj", Value, [4, 8]),
            layer("self_attn.o_proj", Output, [8, 8]),
            layer("mlp.gate_proj", Gate, [24, 8]),
            layer("mlp.up_proj", Up, [24, 8]),
            layer("mlp.down_proj", Down, [8, 24]),
        ],
        norms: vec![
            norm("input_layernorm", NormPlace::BeforeAttention),
            norm("post_attention_layernorm", NormPlace::BeforeMlp),
        ],
        attention: Some(AttentionSpec {
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 4,
            rope: Some(Rope {
                theta: 10_000.0,
                scaling: RopeScaling::None,
                width: 4,
            }),
            window: None,
            score_cap: None,
            score_scale: 0.5,
            query_growth: None,
        }),
        mlp: Some(MlpSpec {
            intermediate_size: 24,
            activation: Activation::Silu,
            experts: None,
        }),
        residual_scale: None,
    };
    ModelSpec {
        architecture: "llama".into(),
        hidden_size: 8,
        vocab_size: 16,
        max_position_embeddings: 64,
        embedding: EmbeddingSpec {
            name: "model.embed_tokens".into(),
            scale: None,
        },
        blocks_name: "model.layers".into(),
        blocks: vec![block; 2],
        final_norm: norm("model.norm", NormPlace::Final),
        head: HeadSpec {
            name: "lm_head".into(),
            tied: false,
            scale: None,
            cap: None,
        },
        bos_token_id: None,
        eos_token_ids: Vec::new(),
        pad_token_id: None,
    }
}

/// The blocks of [`biased`] without biases, the second one with four experts of width 24 and a
/// shared one of width 16.
pub(crate) fn mixture() -> ModelSpec {
    use LayerRole::{Down, Gate, Up};
    let mut spec = biased();
    for layer in spec.blocks.iter_mut().flat_map(|it| &mut it.layers) {
        layer.has_bias = false;
    }
    let block = &mut spec.blocks[1];
    block.layers.truncate(4);
    let gated = |module: &str, width: i64| {
        [
            LayerSpec::new(&format!("{module}.gate_proj"), Gate, [width, 8], false),
            LayerSpec::new(&format!("{module}.up_proj"), Up, [width, 8], false),
            LayerSpec::new(&format!("{module}.down_proj"), Down, [8, width], false),
        ]
    };
    for expert in 0..4 {
        let layers = gated(&format!("mlp.experts.{expert}"), 24);
        block
            .layers
            .extend(layers.map(|layer| layer.of_expert(expert)));
    }
    block.layers.extend(gated("mlp.shared_expert", 16));
    if let Some(mlp) = &mut block.mlp {
        mlp.experts = Some(ExpertsSpec {
            router: "mlp.gate".into(),
            num_experts: 4,
            num_active: 2,
            is_renormalized: true,
            shared: Some(SharedExpertSpec {
                intermediate_size: 16,
                gate: "mlp.shared_expert_gate".into(),
            }),
        });
    }
    spec
}
