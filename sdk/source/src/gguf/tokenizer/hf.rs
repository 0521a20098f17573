//! The small files beside `tokenizer.json` in a Hugging Face folder.

use serde_json::{Map, Value as Json, json};

use super::Vocabulary;
use crate::error::SourceError;
use crate::gguf::metadata::Metadata;
use crate::spec::ModelSpec;

const ROLES: [(&str, &str); 4] = [
    ("bos_token", "bos_token_id"),
    ("eos_token", "eos_token_id"),
    ("unk_token", "unknown_token_id"),
    ("pad_token", "padding_token_id"),
];

/// `tokenizer_config.json`. The class is the one that takes `tokenizer.json` as it is; a class of a
/// family would rebuild parts of it by the family's rules and lose, for instance, the splitting of
/// digits.
pub(in crate::gguf) fn tokenizer_config(
    metadata: &Metadata<'_>,
    spec: &ModelSpec,
) -> Result<Map<String, Json>, SourceError> {
    let mut map = special_tokens_map(metadata)?;
    map.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    map.insert(
        "model_max_length".into(),
        json!(spec.max_position_embeddings),
    );
    map.insert("clean_up_tokenization_spaces".into(), json!(false));
    if let Some(template) = metadata.optional_str("tokenizer.chat_template")? {
        map.insert("chat_template".into(), json!(template));
    }
    Ok(map)
}

/// `special_tokens_map.json`.
pub(in crate::gguf) fn special_tokens_map(
    metadata: &Metadata<'_>,
) -> Result<Map<String, Json>, SourceError> {
    let vocabulary = Vocabulary::read(metadata)?;
    let mut map = Map::new();
    for (role, key) in ROLES {
        if let Some((_, token)) = vocabulary.token(key)? {
            map.insert(role.into(), json!(token));
        }
    }
    Ok(map)
}
