//! Tokenizers of `tokenizer.json`, and what any tokenizer makes of a text.
//!
//! The `tokenizers` library panics at some settings that a file may have, when it reads them or
//! when it meets a text. Whatever it does with a file is done within [`guarded`].

mod growth;
mod guard;

use serde_json::{Map, Value};
use tokenizers::{Encoding, ModelWrapper, Tokenizer};

pub(crate) use guard::guarded;

/// The tokenizer that a file describes, as far as it turns a text into token ids.
///
/// Padding and truncation are about batches of texts, dropout of merges is about training: whoever
/// saved a tokenizer after training left them in the file. They are switched off, so that a text
/// has all of its tokens, no others, and the same every time.
///
/// # Errors
/// The text describes no tokenizer: a sentence without the file's name.
pub(crate) fn parse(text: &str) -> Result<Tokenizer, String> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let parsed = guarded(|| -> tokenizers::Result<Tokenizer> {
        let mut tokenizer: Tokenizer = text.parse()?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None)?;
        if let ModelWrapper::BPE(model) = tokenizer.get_model()
            && model.dropout.is_some()
        {
            let mut model = model.clone();
            model.dropout = None;
            tokenizer.with_model(model);
        }
        Ok(tokenizer)
    });
    let tokenizer = parsed?.map_err(|cause| cause.to_string())?;
    growth::mistake(&tokenizer).map_or(Ok(tokenizer), Err)
}

/// The tokens of a text, with those that the tokenizer puts around it if `special`.
///
/// # Errors
/// The tokenizer's settings do not fit the text, or make far too much of it: a sentence.
pub fn encode(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<Encoding, String> {
    guarded(|| growth::check(tokenizer, text))??;
    let encoding = guarded(|| tokenizer.encode(text, special))?;
    encoding.map_err(|cause| cause.to_string())
}

/// The IDs of a text's tokens alone.
///
/// # Errors
/// As [`encode`].
pub(crate) fn ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, String> {
    guarded(|| growth::check(tokenizer, text))??;
    let encoding = guarded(|| tokenizer.encode_fast(text, false))?;
    let encoding = encoding.map_err(|cause| cause.to_string())?;
    Ok(encoding.get_ids().to_vec())
}

/// The tokens that a tokenizer puts before and behind a text.
pub(crate) fn around(tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    let ids = |special| encode(tokenizer, "a", special).map(|it| it.get_ids().to_vec());
    let (plain, all) = (ids(false)?, ids(true)?);
    let start = all.windows(plain.len().max(1)).position(|it| it == plain);
    let start = start.ok_or("it changes a text that it puts tokens around")?;
    let (before, after) = (&all[..start], &all[start + plain.len()..]);
    Ok((before.to_vec(), after.to_vec()))
}

/// The id of a token that `tokenizer_config.json` names.
pub(crate) fn named_token(
    tokenizer_config: &Map<String, Value>,
    role: &str,
    tokenizer: &Tokenizer,
) -> Option<u32> {
    let token = tokenizer_config.get(role)?;
    let text = token.as_str().or_else(|| token["content"].as_str())?;
    tokenizer.token_to_id(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ids(change: impl Fn(&mut Value)) -> Vec<u32> {
        let mut described = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "abab": 3}, "merges": [["a", "b"], ["ab", "ab"]]},
        });
        change(&mut described);
        let tokenizer = parse(&described.to_string()).unwrap();
        tokenizer
            .encode_fast("ababab", false)
            .unwrap()
            .get_ids()
            .to_vec()
    }

    #[test]
    fn settings_at_which_the_library_panics_get_a_sentence() {
        let charsmap = r#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAQAAAAAAAA="}, "added_tokens": [],
            "model": {"type": "BPE", "vocab": {}, "merges": []}}"#;
        let sentence = parse(charsmap).unwrap_err();
        assert!(
            sentence.starts_with("the library of tokenizers fails at its settings: Precompiled"),
            "{sentence}"
        );
    }

    #[test]
    fn settings_of_batches_and_of_training_are_off() {
        let plain = ids(|_| ());
        assert_eq!(plain, [3, 2]);
        let padding = json!({"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": null,
                             "pad_id": 1, "pad_type_id": 0, "pad_token": "b"});
        assert_eq!(ids(|it| it["padding"] = padding.clone()), plain);
        let truncation =
            json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0});
        assert_eq!(ids(|it| it["truncation"] = truncation.clone()), plain);
        assert_eq!(ids(|it| it["model"]["dropout"] = json!(1.0)), plain);
    }
}
