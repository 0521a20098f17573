//! Numbers of a configuration that no model can have, by the names that they have there; and those
//! that it does not say, though who else reads it wants them.

use std::path::Path;

use evopress_core::json;
use serde_json::{Map, Value};

use super::from_gguf::GgufModel;
use crate::error::SourceError;

/// Factors, caps, bases and windows of `config.json`, where a family has them.
const POSITIVE: [&str; 10] = [
    SLIDING_WINDOW,
    "rope_theta",
    "rope_local_base_freq",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "embedding_multiplier",
    "attention_multiplier",
    "residual_multiplier",
    "logits_scaling",
];
/// The width of windows, which may be switched off.
const SLIDING_WINDOW: &str = "sliding_window";
/// Those of them that every family has.
const OF_ALL: &str = "rope_theta";
const EPSILON: &str = "rms_norm_eps";

/// As [`POSITIVE`], keys of GGUF files, without the architecture, and whether llama.cpp takes 0 for
/// none.
const KEYS: [(&str, bool); 8] = [
    ("rope.freq_base", false),
    ("rope.freq_base_swa", false),
    ("attention.scale", true),
    ("embedding_scale", true),
    ("residual_scale", true),
    ("logit_scale", true),
    ("attn_logit_softcapping", true),
    ("final_logit_softcapping", true),
];
const EPSILON_KEY: &str = "attention.layer_norm_rms_epsilon";

/// Fields with numbers that transformers does not do without: where they are null, it fails.
const WANTED: [&str; 13] = [
    "rms_norm_eps",
    "max_position_embeddings",
    "rope_theta",
    "rope_local_base_freq",
    "query_pre_attn_scalar",
    "embedding_multiplier",
    "attention_multiplier",
    "residual_multiplier",
    "logits_scaling",
    "num_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "decoder_sparse_step",
];

/// Refuses factors, caps and bases of `config.json` that are not positive, of fields that a family
/// takes into account.
pub(super) fn check_config(
    config: &Map<String, Value>,
    known: &[&str],
    file: &Path,
) -> Result<(), SourceError> {
    let is_off = config.get("use_sliding_window") == Some(&Value::Bool(false));
    let read = |name: &&&str| match **name {
        SLIDING_WINDOW if is_off => false,
        name => name == OF_ALL || known.contains(&name),
    };
    let positive = POSITIVE
        .iter()
        .filter(read)
        .map(|name| (*name, is_positive as Is));
    let mut numbers = positive.chain([(EPSILON, is_not_negative as Is)]);
    let wrong = numbers.find_map(|(name, is_right)| {
        let found = config.get(name)?.as_f64()?;
        (!is_right(found)).then(|| sentence(name, found))
    });
    wrong.map_or(Ok(()), |what| Err(SourceError::malformed(file, what)))
}

/// Refuses factors, caps and bases of a GGUF file that are not positive.
pub(super) fn check_gguf(model: &GgufModel<'_>) -> Result<(), SourceError> {
    let keys = KEYS.iter().map(|(name, may_be_none)| match may_be_none {
        true => (*name, is_not_negative as Is),
        false => (*name, is_positive as Is),
    });
    for (name, is_right) in keys.chain([(EPSILON_KEY, is_not_negative as Is)]) {
        let key = model.key(name);
        let found = model.metadata.optional_f64(&key)?;
        if let Some(found) = found.filter(|&found| !is_right(found)) {
            let what = format!("metadata {}", sentence(&key, found));
            return Err(model.metadata.malformed(what));
        }
    }
    Ok(())
}

type Is = fn(f64) -> bool;

fn is_positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

fn is_not_negative(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}

fn sentence(name: &str, found: f64) -> String {
    format!("{name} is {found}, expected a positive number")
}

/// Sizes of tensors.
const SIZES: [&str; 7] = [
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "num_experts",
    "num_local_experts",
];

/// Sizes that a configuration has by its family's `defaults`, a JSON object, in words: empty where
/// it says all of them.
pub(crate) fn sizes_by_default(defaults: &str, config: &Map<String, Value>) -> String {
    let defaults = json::object(defaults).map(|object| object.map);
    let defaults = defaults.unwrap_or_default();
    let is_said = |name: &str| config.get(name).is_some_and(|value| !value.is_null());
    // Two names of one number.
    let counts_experts = ["num_experts", "num_local_experts"];
    let is_said = |name: &str| match counts_experts.contains(&name) {
        true => counts_experts.iter().any(|name| is_said(name)),
        false => is_said(name),
    };
    let taken = SIZES.iter().filter(|name| !is_said(name));
    let taken = taken.filter_map(|name| Some(format!("{name} {}", defaults.get(*name)?)));
    let taken: Vec<String> = taken.collect();
    match taken.is_empty() {
        true => String::new(),
        false => format!(
            ": config.json does not say, so by default {}",
            taken.join(", ")
        ),
    }
}

/// A sentence on each field that is null where transformers wants something: a number, or the name
/// of a function in `activation_field`. `taken` is the configuration as it is understood.
pub(crate) fn notes_on_nulls(
    config: &Map<String, Value>,
    activation_field: &str,
    taken: &Map<String, Value>,
) -> Vec<String> {
    // What rotations are said by for themselves.
    let is_said_elsewhere =
        |name: &str| name == OF_ALL && config.get("rope_parameters").is_some_and(Value::is_object);
    let is_null =
        |name: &&str| config.get(*name).is_some_and(Value::is_null) && !is_said_elsewhere(name);
    let note = |name: &str| {
        let value = taken.get(name).filter(|it| !it.is_null())?;
        Some(format!(
            "{name} of config.json is null, with which transformers fails: {value} is taken, by default"
        ))
    };
    let wanted = WANTED.into_iter().chain([activation_field]);
    wanted.filter(is_null).filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn numbers_that_no_model_has_are_named() {
        let check = |name: &str, number: f64, expected: Option<&str>| {
            let config = object(json!({ name: number }));
            let found = check_config(&config, &["logits_scaling"], "config.json".as_ref());
            let found = found.err().map(|error| error.to_string());
            let expected = expected
                .map(|it| format!("config.json: {name} is {it}, expected a positive number"));
            assert_eq!(found, expected);
        };
        check("logits_scaling", 0.0, Some("0"));
        check("logits_scaling", -8.0, Some("-8"));
        check("logits_scaling", 8.0, None);
        check("rope_theta", 0.0, Some("0"));
        check("rms_norm_eps", -1e-6, Some("-0.000001"));
        check("rms_norm_eps", 0.0, None);
        // Nothing that this family reads.
        check("residual_multiplier", 0.0, None);
    }

    #[test]
    fn nulls_are_noted_with_what_is_taken() {
        let check = |config: Value, expected: &[&str]| {
            let taken = json!({"rms_norm_eps": 1e-6, "head_dim": 64, "rope_theta": 1e4, "hidden_act": "silu"});
            let found = notes_on_nulls(&object(config), "hidden_act", &object(taken));
            assert_eq!(found, expected);
        };
        check(
            json!({"rms_norm_eps": null, "head_dim": null, "hidden_activation": null, "rope_theta": 1e4}),
            &[
                "rms_norm_eps of config.json is null, with which transformers fails: 1e-6 is taken, by default",
            ],
        );
        check(json!({"rope_theta": null, "rope_parameters": {}}), &[]);
        check(
            json!({"hidden_act": null, "rope_parameters": null}),
            &[
                "hidden_act of config.json is null, with which transformers fails: \"silu\" is taken, by default",
            ],
        );
    }
}
