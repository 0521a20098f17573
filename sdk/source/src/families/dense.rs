//! Models whose blocks are all alike: attention and a gated MLP, each after a norm.

use crate::config::ModelConfig;
use crate::spec::{
    Activation, AttentionSpec, BlockSpec, EmbeddingSpec, HeadSpec, LayerRole, LayerSpec, MlpSpec,
    ModelSpec, NormPlace, NormSpec,
};

/// The specification of a model whose numbers are checked.
pub(crate) fn dense_spec(config: &ModelConfig) -> ModelSpec {
    let block = block(config);
    ModelSpec {
        architecture: config.architecture.clone(),
        hidden_size: config.hidden_size,
        vocab_size: config.vocab_size,
        max_position_embeddings: config.max_position_embeddings,
        embedding: EmbeddingSpec {
            name: "model.embed_tokens".into(),
            scale: None,
        },
        blocks_name: "model.layers".into(),
        blocks: vec![block; config.num_blocks],
        final_norm: norm(config, "model.norm", NormPlace::Final),
        head: HeadSpec {
            name: "lm_head".into(),
            tied: config.tie_word_embeddings,
            scale: None,
            cap: None,
        },
        bos_token_id: config.bos_token_id,
        eos_token_ids: config.eos_token_ids.clone(),
        pad_token_id: config.pad_token_id,
    }
}

fn block(config: &ModelConfig) -> BlockSpec {
    use LayerRole::{Down, Gate, Key, Output, Query, Up, Value};
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let queries = config.num_heads * config.head_dim;
    let keys = config.num_kv_heads * config.head_dim;
    let of_attention = |name, role, shape| {
        LayerSpec::new(
            &format!("self_attn.{name}"),
            role,
            shape,
            config.attention_bias,
        )
    };
    let of_mlp =
        |name, role, shape| LayerSpec::new(&format!("mlp.{name}"), role, shape, config.mlp_bias);
    BlockSpec {
        layers: vec![
            of_attention("q_proj", Query, [queries, hidden]),
            of_attention("k_proj", Key, [keys, hidden]),
            of_attention("v_proj", Value, [keys, hidden]),
            of_attention("o_proj", Output, [hidden, queries]),
            of_mlp("gate_proj", Gate, [inner, hidden]),
            of_mlp("up_proj", Up, [inner, hidden]),
            of_mlp("down_proj", Down, [hidden, inner]),
        ],
        norms: vec![
            norm(config, "input_layernorm", NormPlace::BeforeAttention),
            norm(config, "post_attention_layernorm", NormPlace::BeforeMlp),
        ],
        attention: Some(AttentionSpec {
            num_heads: config.num_heads,
            num_kv_heads: config.num_kv_heads,
            head_dim: config.head_dim,
            rope: Some(config.rope.clone()),
            window: None,
            score_cap: None,
            score_scale: (config.head_dim as f64).powf(-0.5),
        }),
        mlp: Some(MlpSpec {
            intermediate_size: inner,
            activation: Activation::Silu,
            experts: None,
        }),
    }
}

fn norm(config: &ModelConfig, name: &str, place: NormPlace) -> NormSpec {
    NormSpec {
        name: name.into(),
        place,
        width: config.hidden_size,
        eps: config.rms_norm_eps,
    }
}
