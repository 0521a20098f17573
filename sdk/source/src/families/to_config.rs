//! `config.json` in the form that transformers 4 and 5 both read.

use serde_json::{Map, Value, json};

use super::family::Family;
use crate::spec::{LayerRole, ModelSpec, RopeScaling};

/// The model's configuration over what the original file says beside it.
pub(crate) fn to_config(
    family: &Family,
    spec: &ModelSpec,
    original: Map<String, Value>,
) -> Map<String, Value> {
    let mut map = original;
    for key in [
        "rope_parameters",
        "dtype",
        "transformers_version",
        "_name_or_path",
    ] {
        map.shift_remove(key);
    }
    let (attention, mlp) = (spec.first_attention(), spec.first_mlp());
    let has_bias = |role: LayerRole| {
        let mut layers = spec.layers();
        let layer = layers.find(|layer| layer.spec.role == role);
        layer.is_some_and(|layer| layer.spec.has_bias)
    };
    let rope = attention.and_then(|attention| attention.rope.as_ref());
    let settings = [
        ("architectures", json!([family.class])),
        ("model_type", json!(family.model_type)),
        ("vocab_size", json!(spec.vocab_size)),
        ("hidden_size", json!(spec.hidden_size)),
        (
            "intermediate_size",
            json!(mlp.map(|mlp| mlp.intermediate_size)),
        ),
        ("num_hidden_layers", json!(spec.num_blocks())),
        (
            "num_attention_heads",
            json!(attention.map(|it| it.num_heads)),
        ),
        (
            "num_key_value_heads",
            json!(attention.map(|it| it.num_kv_heads)),
        ),
        ("head_dim", json!(attention.map(|it| it.head_dim))),
        ("hidden_act", json!("silu")),
        (
            "max_position_embeddings",
            json!(spec.max_position_embeddings),
        ),
        ("rms_norm_eps", json!(spec.final_norm.eps)),
        ("rope_theta", json!(rope.map(|rope| rope.theta))),
        (
            "rope_scaling",
            rope.map_or(Value::Null, |rope| rope_scaling(&rope.scaling, spec)),
        ),
        ("attention_bias", json!(has_bias(LayerRole::Query))),
        ("mlp_bias", json!(has_bias(LayerRole::Gate))),
        ("tie_word_embeddings", json!(spec.head.tied)),
        ("bos_token_id", json!(spec.bos_token_id)),
        ("eos_token_id", eos(spec)),
        ("pad_token_id", json!(spec.pad_token_id)),
    ];
    for (key, value) in settings {
        map.insert(key.into(), value);
    }
    map
}

/// `generation_config.json` of a model that came without one.
pub(crate) fn generation_config(spec: &ModelSpec) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("bos_token_id".into(), json!(spec.bos_token_id));
    map.insert("eos_token_id".into(), eos(spec));
    map.insert("pad_token_id".into(), json!(spec.pad_token_id));
    map.retain(|_, value| !value.is_null());
    map
}

fn eos(spec: &ModelSpec) -> Value {
    match spec.eos_token_ids.as_slice() {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    }
}

fn rope_scaling(scaling: &RopeScaling, spec: &ModelSpec) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": whole(*original_max_position_embeddings),
        }),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            attention_factor,
            is_truncated,
        } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "original_max_position_embeddings": whole(*original_max_position_embeddings),
            "attention_factor": attention_factor,
            "truncate": is_truncated,
        }),
        RopeScaling::LongRope {
            short_factors,
            long_factors,
            original_max_position_embeddings,
            attention_factor,
        } => json!({
            "rope_type": "longrope",
            "factor": spec.max_position_embeddings as f64 / original_max_position_embeddings,
            "attention_factor": attention_factor,
            "short_factor": short_factors,
            "long_factor": long_factors,
            "original_max_position_embeddings": whole(*original_max_position_embeddings),
        }),
        RopeScaling::Factors { factors } => json!({
            "rope_type": "longrope",
            "factor": 1.0,
            "attention_factor": 1.0,
            "short_factor": factors,
            "long_factor": factors,
            "original_max_position_embeddings": spec.max_position_embeddings,
        }),
    }
}

/// An integer where the number is one, as transformers wants it.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}
