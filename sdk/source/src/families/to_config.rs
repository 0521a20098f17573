//! `config.json` in the form that transformers 4 and 5 both read.

use serde_json::{Map, Value, json};

use super::config_rope::Kind;
use super::family::Family;
use super::from_config::activation_name;
use crate::spec::{AttentionSpec, LayerRole, ModelSpec, Rope, RopeScaling};

/// The model's configuration over what the original file says beside it.
pub(crate) fn to_config(
    family: &Family,
    spec: &ModelSpec,
    original: Map<String, Value>,
) -> Map<String, Value> {
    let mut map = original;
    for key in [
        "rope_parameters",
        "sliding_window_pattern",
        "dtype",
        "transformers_version",
        "_name_or_path",
    ] {
        map.shift_remove(key);
    }
    let (attention, mlp) = (spec.first_attention(), spec.first_mlp());
    let rope = main_rope(spec);
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
        (
            "hidden_act",
            json!(mlp.map(|mlp| activation_name(mlp.activation))),
        ),
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
        ("tie_word_embeddings", json!(spec.head.tied)),
        ("bos_token_id", json!(spec.bos_token_id)),
        ("eos_token_id", eos(spec)),
        ("pad_token_id", json!(spec.pad_token_id)),
    ];
    for (key, value) in settings {
        map.insert(key.into(), value);
    }
    for (field, role) in [
        ("attention_bias", LayerRole::Query),
        ("mlp_bias", LayerRole::Gate),
    ] {
        if family.fields.contains(&field) {
            map.insert(field.into(), json!(has_bias(spec, role)));
        }
    }
    (family.write_config)(spec, &mut map);
    map
}

fn has_bias(spec: &ModelSpec, role: LayerRole) -> bool {
    let mut layers = spec.layers();
    let layer = layers.find(|layer| layer.spec.role == role);
    layer.is_some_and(|layer| layer.spec.has_bias)
}

/// The rotation of the blocks without a window, or of all where none is without.
fn main_rope(spec: &ModelSpec) -> Option<&Rope> {
    rope_of(spec, Kind::Full).or_else(|| rope_of(spec, Kind::Windowed))
}

/// The rotation of the blocks of a kind.
pub(super) fn rope_of(spec: &ModelSpec, kind: Kind) -> Option<&Rope> {
    let attentions = spec.blocks.iter().filter_map(|it| it.attention.as_ref());
    let mut of_kind = attentions.filter(|it| kind_of(it) == kind);
    of_kind.find_map(|it| it.rope.as_ref())
}

fn kind_of(attention: &AttentionSpec) -> Kind {
    match attention.window {
        Some(_) => Kind::Windowed,
        None => Kind::Full,
    }
}

/// `sliding_window` and `layer_types`.
pub(super) fn write_windows(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let attentions = spec.blocks.iter().map(|it| it.attention.as_ref());
    let kinds = attentions.map(|it| it.map_or(Kind::Full, kind_of).name());
    config.insert("layer_types".into(), json!(kinds.collect::<Vec<_>>()));
    let windows = spec.blocks.iter().filter_map(|it| it.attention.as_ref());
    if let Some(window) = windows.filter_map(|it| it.window).next() {
        config.insert("sliding_window".into(), json!(window));
    }
}

/// `sliding_window` and `layer_types`, and whether they are in use.
pub(super) fn write_switched_windows(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let mut attentions = spec.blocks.iter().filter_map(|it| it.attention.as_ref());
    let is_used = attentions.any(|it| it.window.is_some());
    config.insert("use_sliding_window".into(), json!(is_used));
    write_windows(spec, config);
}

/// `rope_parameters` of the blocks of each kind, which transformers 4 knows nothing of.
pub(super) fn write_ropes(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let mut parameters = Map::new();
    for kind in [Kind::Full, Kind::Windowed] {
        if let Some(rope) = rope_of(spec, kind) {
            let mut settings = match rope_scaling(&rope.scaling, spec) {
                Value::Object(settings) => settings,
                _ => Map::from_iter([("rope_type".to_owned(), json!("default"))]),
            };
            settings.insert("rope_theta".into(), json!(rope.theta));
            parameters.insert(kind.name().into(), Value::Object(settings));
        }
    }
    config.insert("rope_parameters".into(), Value::Object(parameters));
}

/// A number, as the integer that it is but for rounding.
pub(super) fn near_integer(number: f64) -> Value {
    let rounded = number.round();
    match (number - rounded).abs() < 1e-9 * rounded {
        true => whole(rounded),
        false => json!(number),
    }
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
pub(super) fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}
