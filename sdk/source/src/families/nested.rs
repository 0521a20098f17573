//! Models with a part for texts among others, for images say: the part for texts is a model of its
//! own, and the only one that is read.

use serde_json::{Map, Value, json};

/// Models whose part for texts is read: `model_type`, and that of the part where the file does not
/// say it.
const NESTED: [(&str, &str); 2] = [("gemma3", "gemma3_text"), ("mistral3", "mistral")];
/// The field with the configuration of the part.
const TEXT: &str = "text_config";

/// Fields of the whole that are about the part for texts too.
const SHARED: [&str; 6] = [
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
    "torch_dtype",
    "dtype",
];

/// The configuration of the part for texts, if it is one of several.
pub(crate) fn text_part(config: &Map<String, Value>) -> Option<Map<String, Value>> {
    let model_type = config.get("model_type").and_then(Value::as_str)?;
    let (_, of_part) = NESTED.iter().find(|(name, _)| *name == model_type)?;
    let mut part = config.get(TEXT)?.as_object()?.clone();
    for name in SHARED {
        if let (None, Some(value)) = (part.get(name), config.get(name)) {
            part.insert(name.into(), value.clone());
        }
    }
    part.entry("model_type").or_insert(json!(of_part));
    Some(part)
}

/// The name of a tensor of the part for texts in the files of the whole, in each of the forms that
/// transformers has written: `model.norm.weight` is `language_model.model.norm.weight`.
pub(crate) fn names_in_whole(name: &str) -> [String; 2] {
    let newer = match name.strip_prefix("model.") {
        Some(rest) => format!("model.language_model.{rest}"),
        None => name.to_owned(),
    };
    [format!("language_model.{name}"), newer]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_for_texts_is_a_model_of_its_own() {
        let config = json!({
            "model_type": "gemma3", "eos_token_id": [1, 106], "vision_config": {"hidden_size": 1152},
            "text_config": {"hidden_size": 2560, "eos_token_id": 1, "model_type": "gemma3_text"}, "torch_dtype": "bfloat16",
        });
        let part = text_part(config.as_object().unwrap()).unwrap();
        let expected = json!({"hidden_size": 2560, "eos_token_id": 1, "model_type": "gemma3_text", "torch_dtype": "bfloat16"});
        assert_eq!(Value::Object(part), expected);
        let config = json!({"model_type": "llama", "text_config": {}});
        assert_eq!(text_part(config.as_object().unwrap()), None);
    }

    #[test]
    fn names_in_the_whole() {
        let names = names_in_whole("model.norm.weight");
        let expected = [
            "language_model.model.norm.weight",
            "model.language_model.norm.weight",
        ];
        assert_eq!(names, expected);
        assert_eq!(names_in_whole("lm_head.weight")[1], "lm_head.weight");
    }
}
