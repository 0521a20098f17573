//! The rule by which a sequence begins: whether the model's runtimes put its BOS token before a
//! text.
//!
//! transformers and what is built on it do what the post-processor of `tokenizer.json` says; where
//! that adds nothing, `add_bos_token` of `tokenizer_config.json` may still ask for the token.
//! llama.cpp does what `tokenizer.ggml.add_bos_token` says and has a default of its own for each
//! kind of tokenizer.

use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use crate::tokenizer;

/// Whether sequences begin with a token, which one, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BosRule {
    /// The model's BOS token; none where it has none.
    pub token: Option<u32>,
    /// Whether runtimes put it before a text. Then there is a `token`.
    pub is_prepended: bool,
    /// A file or a key of a file: `tokenizer.json`, `tokenizer.ggml.add_bos_token`.
    pub said_by: String,
}

impl BosRule {
    /// The token that sequences begin with.
    pub fn prepended(&self) -> Option<u32> {
        self.token.filter(|_| self.is_prepended)
    }
}

/// The rule of a folder. `bos_token_id` is its configuration's.
pub(crate) fn of_folder(
    tokenizer: &Tokenizer,
    tokenizer_config: &Map<String, Value>,
    bos_token_id: Option<u32>,
) -> Result<BosRule, String> {
    if let Some(token) = first_of(tokenizer)? {
        return Ok(BosRule {
            token: Some(token),
            is_prepended: true,
            said_by: "tokenizer.json".into(),
        });
    }
    let flag = tokenizer_config
        .get("add_bos_token")
        .and_then(Value::as_bool);
    let named = tokenizer::named_token(tokenizer_config, "bos_token", tokenizer);
    let token = named.or(bos_token_id);
    let said_by = match flag {
        Some(_) => "tokenizer_config.json",
        None => "tokenizer.json",
    };
    Ok(BosRule {
        token,
        is_prepended: flag == Some(true) && token.is_some(),
        said_by: said_by.into(),
    })
}

/// The rule of a GGUF file, whose tokenizer puts before a text what llama.cpp puts there.
pub(crate) fn of_gguf(
    tokenizer: &Tokenizer,
    has_key: bool,
    bos_token_id: Option<u32>,
) -> Result<BosRule, String> {
    let before = first_of(tokenizer)?;
    let said_by = match has_key {
        true => "tokenizer.ggml.add_bos_token",
        false => "llama.cpp's default",
    };
    Ok(BosRule {
        token: before.or(bos_token_id),
        is_prepended: before.is_some(),
        said_by: said_by.into(),
    })
}

fn first_of(tokenizer: &Tokenizer) -> Result<Option<u32>, String> {
    let (before, _) = tokenizer::around(tokenizer)?;
    match before.as_slice() {
        [] => Ok(None),
        [token] => Ok(Some(*token)),
        several => Err(format!(
            "it puts {} tokens before a text; supported: one at most",
            several.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(post_processor: &Value, tokenizer_config: &Value) -> Result<BosRule, String> {
        let described = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "added_tokens": [
                {"id": 1, "content": "<s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}
            ],
            "pre_tokenizer": null, "post_processor": post_processor, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "<s>": 1}, "merges": []},
        });
        let tokenizer = tokenizer::parse(&described.to_string()).unwrap();
        of_folder(&tokenizer, tokenizer_config.as_object().unwrap(), Some(7))
    }

    fn template(before: &[&str]) -> Value {
        let special = |token: &&str| json!({"SpecialToken": {"id": token, "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let single: Vec<Value> = before.iter().map(special).chain([text]).collect();
        json!({
            "type": "TemplateProcessing", "single": single, "pair": single,
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        })
    }

    #[test]
    fn tokenizer_json_says_it_first() {
        let check = |post_processor: Value, config: Value, token, is_prepended, said_by: &str| {
            let said_by = said_by.to_owned();
            let expected = BosRule {
                token,
                is_prepended,
                said_by,
            };
            assert_eq!(rule(&post_processor, &config), Ok(expected), "{config}");
        };
        let (whole, small) = ("tokenizer.json", "tokenizer_config.json");
        let nothing = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
        let named = json!({"bos_token": "<s>"});
        check(template(&["<s>"]), json!({}), Some(1), true, whole);
        // transformers ignores the flag where there is a tokenizer.json that does otherwise.
        let no = json!({"add_bos_token": false, "bos_token": "<s>"});
        check(template(&["<s>"]), no.clone(), Some(1), true, whole);
        check(template(&[]), named.clone(), Some(1), false, whole);
        check(nothing.clone(), no, Some(1), false, small);
        let yes = json!({"add_bos_token": true, "bos_token": {"content": "<s>"}});
        check(nothing.clone(), yes.clone(), Some(1), true, small);
        check(Value::Null, yes, Some(1), true, small);
        check(Value::Null, named, Some(1), false, whole);
        // config.json may know the token that the tokenizer does not name.
        check(nothing, json!({"bos_token": null}), Some(7), false, whole);
    }

    #[test]
    fn several_tokens_are_refused() {
        let sentence = rule(&template(&["<s>", "<s>"]), &json!({})).unwrap_err();
        assert_eq!(
            sentence,
            "it puts 2 tokens before a text; supported: one at most"
        );
    }
}
