//! Settings that change what some family computes.
//!
//! A family that does not know such a setting would compute another model than its maker's, so a
//! configuration that has one is refused by the setting's name.

use std::path::Path;

use serde_json::{Map, Value};

use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::gguf::names::{TEMPERATURE_SCALE, YARN_LOG_MULTIPLIER};

/// With which value a setting changes nothing. One that is absent or null never does.
enum Neutral {
    Null,
    False,
    Number(f64),
    /// A list of nothing but this.
    All(Element),
}

enum Element {
    Text(&'static str),
    Number(f64),
}

/// Fields of `config.json`.
const FIELDS: [(&str, Neutral); 31] = [
    ("sliding_window", Neutral::Null),
    ("use_sliding_window", Neutral::False),
    ("sliding_window_pattern", Neutral::Null),
    ("layer_types", Neutral::All(Element::Text("full_attention"))),
    ("no_rope_layers", Neutral::All(Element::Number(1.0))),
    ("rope_local_base_freq", Neutral::Null),
    ("query_pre_attn_scalar", Neutral::Null),
    ("attn_logit_softcapping", Neutral::Null),
    ("final_logit_softcapping", Neutral::Null),
    ("embedding_multiplier", Neutral::Number(1.0)),
    ("attention_multiplier", Neutral::Null),
    ("residual_multiplier", Neutral::Number(1.0)),
    ("logits_scaling", Neutral::Number(1.0)),
    ("scale_emb", Neutral::Number(1.0)),
    ("scale_depth", Neutral::Null),
    ("attention_bias", Neutral::False),
    ("mlp_bias", Neutral::False),
    ("use_bidirectional_attention", Neutral::False),
    ("llama_4_scaling_beta", Neutral::Null),
    ("use_qk_norm", Neutral::False),
    ("qk_layernorm", Neutral::False),
    ("clip_qkv", Neutral::Null),
    ("alibi", Neutral::False),
    ("parallel_attn", Neutral::False),
    ("use_parallel_residual", Neutral::False),
    ("kv_lora_rank", Neutral::Null),
    ("num_experts", Neutral::Number(0.0)),
    ("num_local_experts", Neutral::Number(0.0)),
    ("num_experts_by_layer", Neutral::Null),
    ("n_routed_experts", Neutral::Number(0.0)),
    ("block_configs", Neutral::Null),
];

/// Keys of GGUF files, without the architecture, and the number with which they change nothing.
const KEYS: [(&str, f64); 12] = [
    ("expert_count", 0.0),
    ("attention.sliding_window", 0.0),
    ("attention.scale", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("embedding_scale", 1.0),
    ("residual_scale", 1.0),
    ("logit_scale", 1.0),
    ("attention.clamp_kqv", 0.0),
    (TEMPERATURE_SCALE, 0.0),
    ("attention.temperature_length", 0.0),
    (YARN_LOG_MULTIPLIER, 0.0),
];

/// Lists with an entry for each block.
const BY_BLOCK: [&str; 3] = ["layer_types", "no_rope_layers", "num_experts_by_layer"];

/// Refuses lists that have an entry for each block and are not as long as there are blocks.
pub(super) fn check_lengths(config: &Map<String, Value>, file: &Path) -> Result<(), SourceError> {
    let count = config.get("num_hidden_layers").and_then(Value::as_f64);
    let Some(num_blocks) = count.map(|count| count as usize) else {
        return Ok(());
    };
    for name in BY_BLOCK {
        let list = config.get(name).and_then(Value::as_array);
        if let Some(found) = list.map(Vec::len).filter(|found| *found != num_blocks) {
            let what = format!("{name} has {found} entries, num_hidden_layers is {num_blocks}");
            return Err(SourceError::malformed(file, what));
        }
    }
    Ok(())
}

/// Refuses fields that change what is computed and are not `known`.
pub(super) fn check_config(
    config: &Map<String, Value>,
    known: &[&str],
    file: &Path,
) -> Result<(), SourceError> {
    // A window that is switched off changes nothing, however wide it is said to be.
    let has_no_window = config.get("use_sliding_window") == Some(&Value::Bool(false));
    let is_off = |name: &str| has_no_window && name == "sliding_window";
    for (name, neutral) in FIELDS.iter().filter(|(name, _)| !known.contains(name)) {
        let changes = |value: &&Value| !neutral.is(value) && !is_off(name);
        if let Some(found) = config.get(*name).filter(changes) {
            return Err(SourceError::Unsupported {
                file: file.to_path_buf(),
                what: (*name).into(),
                found: found.to_string(),
                supported: neutral.describe(),
            });
        }
    }
    Ok(())
}

/// Refuses keys that change what is computed and are not `known`.
pub(super) fn check_gguf(model: &GgufModel<'_>, known: &[&str]) -> Result<(), SourceError> {
    for (name, neutral) in KEYS.iter().filter(|(name, _)| !known.contains(name)) {
        let key = model.key(name);
        let found = model.metadata.optional_f64(&key)?;
        if let Some(found) = found.filter(|found| found != neutral) {
            return Err(model
                .metadata
                .unsupported(&key, found.to_string(), &neutral.to_string()));
        }
    }
    Ok(())
}

impl Neutral {
    fn is(&self, value: &Value) -> bool {
        let is_neutral = match self {
            Self::Null => false,
            Self::False => *value == Value::Bool(false),
            Self::Number(number) => value.as_f64() == Some(*number),
            Self::All(element) => value
                .as_array()
                .is_some_and(|values| values.iter().all(|value| element.is(value))),
        };
        is_neutral || value.is_null()
    }

    fn describe(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::False => "false".into(),
            Self::Number(number) => number.to_string(),
            Self::All(Element::Text(text)) => format!("only {text:?}"),
            Self::All(Element::Number(number)) => format!("only {number}"),
        }
    }
}

impl Element {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Number(number) => value.as_f64() == Some(*number),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(field: &str, value: Value, known: &[&str]) -> Result<(), String> {
        let config = Map::from_iter([(field.to_owned(), value)]);
        let checked = check_config(&config, known, "config.json".as_ref());
        checked.map_err(|error| error.to_string())
    }

    #[test]
    fn fields_that_change_nothing_pass() {
        for (field, value) in [
            ("sliding_window", json!(null)),
            ("use_sliding_window", json!(false)),
            ("layer_types", json!(["full_attention", "full_attention"])),
            ("no_rope_layers", json!([1, 1])),
            ("residual_multiplier", json!(1.0)),
            ("num_experts", json!(0)),
            ("use_cache", json!(true)),
        ] {
            assert_eq!(check(field, value, &[]), Ok(()), "{field}");
        }
        assert_eq!(
            check("sliding_window", json!(512), &["sliding_window"]),
            Ok(())
        );
    }

    #[test]
    fn a_window_that_is_switched_off_passes() {
        let config = |is_used: bool| {
            let window = ("sliding_window".to_owned(), json!(128));
            Map::from_iter([window, ("use_sliding_window".to_owned(), json!(is_used))])
        };
        let check = |config: &Map<String, Value>| check_config(config, &[], "config.json".as_ref());
        assert!(check(&config(false)).is_ok());
        assert!(check(&config(true)).is_err());
    }

    #[test]
    fn fields_that_nobody_reads_are_refused_by_name() {
        let refused = |field: &str, value: Value, sentence: &str| {
            let found = check(field, value, &["attention_multiplier"]).unwrap_err();
            assert_eq!(found, format!("config.json: unsupported {sentence}"));
        };
        refused(
            "sliding_window",
            json!(4096),
            "sliding_window: found 4096, supported: null",
        );
        refused(
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
            r#"layer_types: found ["full_attention","sliding_attention"], supported: only "full_attention""#,
        );
        refused(
            "residual_multiplier",
            json!(0.22),
            "residual_multiplier: found 0.22, supported: 1",
        );
        refused(
            "num_local_experts",
            json!(8),
            "num_local_experts: found 8, supported: 0",
        );
    }
}
