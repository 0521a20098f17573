//! The tokenizer of a Hugging Face folder in GGUF's terms: byte-level BPE whose rules have a name
//! in llama.cpp.
//!
//! What llama.cpp would do otherwise than `tokenizers` is refused here: a normalizer, words cut by
//! other rules, tokens that take the spaces beside them, and SentencePiece vocabularies, whose
//! merges do not follow from scores alone.

use std::path::Path;

use evopress_core::{json, text};
use serde::Deserialize;
use serde_json::Value as Json;
use tokenizers::Tokenizer;

use super::pre_tokenizer::{GPT_2, PreTokenizer};
use super::{CONTROL, NORMAL, USER_DEFINED};
use crate::error::SourceError;
use crate::gguf::entries::Entries;
use crate::hf_files::HfFiles;
use crate::spec::ModelSpec;
use crate::tokenizer;

const UNUSED: i32 = 5;

/// What matters of `tokenizer.json`.
#[derive(Deserialize)]
struct Described {
    normalizer: Option<Json>,
    pre_tokenizer: Option<Json>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    vocab: Json,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    dropout: Option<f64>,
}

/// Older files have `"a b"`, newer ones `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

/// Writes `tokenizer.*`; the folder is for messages.
pub(in crate::gguf) fn to_entries(
    spec: &ModelSpec,
    files: &HfFiles,
    folder: &Path,
    entries: &mut Entries,
) -> Result<(), SourceError> {
    let file = folder.join("tokenizer.json");
    let wrong = |what: String| SourceError::Tokenizer {
        file: file.clone(),
        what: format!("it cannot be written into a GGUF file: {what}"),
    };
    let described: Described = json::fields(&files.tokenizer).map_err(wrong)?;
    let name = rules(&described).map_err(wrong)?;
    let (tokens, types) = vocabulary(&described, spec.vocab_size as usize).map_err(wrong)?;
    entries.string("tokenizer.ggml.model", "gpt2");
    entries.string("tokenizer.ggml.pre", name);
    entries.strings("tokenizer.ggml.tokens", tokens.iter().map(String::as_str));
    entries.i32s("tokenizer.ggml.token_type", &types);
    let merges: Vec<String> = described.model.merges.iter().map(Merge::text).collect();
    entries.strings("tokenizer.ggml.merges", merges.iter().map(String::as_str));

    let tokenizer = tokenizer::parse(&files.tokenizer).map_err(wrong)?;
    let (before, after) = around(&tokenizer).map_err(wrong)?;
    let named = |role: &str| tokenizer::named_token(&files.tokenizer_config, role, &tokenizer);
    let bos = before.or(named("bos_token")).or(spec.bos_token_id);
    let mut ends = spec.eos_token_ids.clone();
    if let Some(eos) = after.or(named("eos_token")) {
        ends.retain(|&id| id != eos);
        ends.insert(0, eos);
    }
    let mut id = |key: &str, id: Option<u32>| {
        if let Some(id) = id {
            entries.u32(&format!("tokenizer.ggml.{key}_token_id"), id);
        }
    };
    id("bos", bos);
    // llama.cpp stops at these three, and at tokens whose text it knows to be an end.
    id("eos", ends.first().copied());
    id("eot", ends.get(1).copied());
    id("eom", ends.get(2).copied());
    id("unknown", named("unk_token"));
    id("padding", named("pad_token").or(spec.pad_token_id));
    entries.bool("tokenizer.ggml.add_bos_token", before.is_some());
    entries.bool("tokenizer.ggml.add_eos_token", after.is_some());
    chat_templates(files, entries)
}

/// The name of the rules by which a text is cut into words.
fn rules(described: &Described) -> Result<&'static str, String> {
    let model = &described.model;
    if model.r#type.as_deref().is_some_and(|it| it != "BPE") {
        let found = model.r#type.as_deref().unwrap_or_default();
        return Err(format!("its model is {found}; supported: BPE"));
    }
    if model.byte_fallback {
        return Err(
            "it is a SentencePiece vocabulary, whose scores are not in tokenizer.json; start from a GGUF file of the model instead"
                .into(),
        );
    }
    let is_set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if is_set(&model.continuing_subword_prefix)
        || is_set(&model.end_of_word_suffix)
        || model.dropout.is_some_and(|share| share > 0.0)
    {
        return Err(
            "its model has a prefix, a suffix or dropout, which llama.cpp does not know".into(),
        );
    }
    if let Some(normalizer) = described.normalizer.as_ref().filter(|it| !it.is_null()) {
        return Err(format!(
            "it changes the text first (normalizer {}), which llama.cpp would not do",
            normalizer["type"]
        ));
    }
    let odd = |token: &&Added| token.lstrip || token.rstrip || token.single_word;
    if let Some(token) = described.added_tokens.iter().find(odd) {
        return Err(format!(
            "its token {:?} takes the spaces beside it or only stands alone, which llama.cpp would not do",
            token.content
        ));
    }
    let steps = steps(described.pre_tokenizer.as_ref())?;
    PreTokenizer::name_of(&steps, model.ignore_merges).ok_or_else(|| {
        format!(
            "it cuts a text into words by rules that have no name in llama.cpp, {steps:?}{}; supported are those of {}",
            if model.ignore_merges { " and whole words" } else { "" },
            PreTokenizer::supported()
        )
    })
}

/// The regexes by which the pre-tokenizer cuts, up to its byte-level step.
fn steps(pre_tokenizer: Option<&Json>) -> Result<Vec<String>, String> {
    let parts = match pre_tokenizer {
        Some(sequence) if sequence["type"] == "Sequence" => sequence["pretokenizers"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
        Some(one) if !one.is_null() => vec![one.clone()],
        _ => Vec::new(),
    };
    let mut regexes = Vec::new();
    let mut is_byte_level = false;
    for part in &parts {
        let flag = |name: &str| part[name].as_bool();
        match part["type"].as_str() {
            // Bytes without a token: llama.cpp drops them by itself.
            Some("Split") if is_byte_level && part["behavior"] == "Removed" => {}
            Some("Split") if part["behavior"] == "Isolated" && flag("invert") != Some(true) => {
                let regex = part["pattern"]["Regex"].as_str();
                regexes.push(regex.ok_or("it cuts at a plain text")?.to_owned());
            }
            Some("Digits") if flag("individual_digits") == Some(true) => {
                regexes.push(r"\p{N}".into());
            }
            Some("ByteLevel") if flag("add_prefix_space") != Some(true) => {
                if flag("use_regex") != Some(false) {
                    regexes.push(GPT_2.into());
                }
                is_byte_level = true;
            }
            _ => return Err(format!("its pre-tokenizer has the step {part}")),
        }
    }
    match is_byte_level {
        true => Ok(regexes),
        false => Err("it does not work on bytes (it has no ByteLevel pre-tokenizer)".into()),
    }
}

/// Tokens by id, and what llama.cpp calls their types.
fn vocabulary(described: &Described, size: usize) -> Result<(Vec<String>, Vec<i32>), String> {
    let mut tokens: Vec<Option<(String, i32)>> = vec![None; size];
    let mut put = |id: usize, token: &str, kind: i32| match tokens.get_mut(id) {
        Some(place) => {
            *place = Some((token.to_owned(), kind));
            Ok(())
        }
        None => Err(format!(
            "token {token:?} has the id {id}, but the model has {size} embeddings"
        )),
    };
    let vocab = described.model.vocab.as_object();
    for (token, id) in vocab.ok_or("it has no vocabulary")? {
        let id = id
            .as_u64()
            .ok_or_else(|| format!("token {token:?} has the id {id}"))?;
        put(id as usize, token, NORMAL as i32)?;
    }
    for token in &described.added_tokens {
        let kind = if token.special { CONTROL } else { USER_DEFINED };
        put(token.id, &token.content, kind as i32)?;
    }
    let named = tokens
        .into_iter()
        .enumerate()
        .map(|(id, token)| match token {
            Some(token) => token,
            None => (format!("[PAD{id}]"), UNUSED),
        });
    Ok(named.unzip())
}

/// The tokens that the tokenizer puts before and behind a text, one each at most.
fn around(tokenizer: &Tokenizer) -> Result<(Option<u32>, Option<u32>), String> {
    let (before, after) = tokenizer::around(tokenizer)?;
    if before.len() > 1 || after.len() > 1 {
        return Err(format!(
            "it puts {} tokens before a text and {} behind it; llama.cpp puts one at most",
            before.len(),
            after.len()
        ));
    }
    Ok((before.first().copied(), after.first().copied()))
}

/// The chat template, from `tokenizer_config.json` (one, or several by name) or a file of its own.
fn chat_templates(files: &HfFiles, entries: &mut Entries) -> Result<(), SourceError> {
    const KEY: &str = "tokenizer.chat_template";
    match files.tokenizer_config.get("chat_template") {
        Some(Json::String(template)) => entries.string(KEY, template),
        Some(Json::Array(named)) => {
            for each in named {
                if let (Some(name), Some(template)) =
                    (each["name"].as_str(), each["template"].as_str())
                {
                    match name {
                        "default" => entries.string(KEY, template),
                        _ => entries.string(&format!("{KEY}.{name}"), template),
                    }
                }
            }
        }
        _ => {}
    }
    let is_template = |path: &&std::path::PathBuf| path.ends_with("chat_template.jinja");
    if let Some(file) = files.copies.iter().find(is_template) {
        let template = text::read(file).map_err(|error| SourceError::of_text(error, file))?;
        entries.string(KEY, &template);
    }
    Ok(())
}

impl Merge {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Pair(left, right) => format!("{left} {right}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(change: impl Fn(&mut Json)) -> Result<&'static str, String> {
        let mut described = json!({
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
            "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
        });
        change(&mut described);
        rules(&serde_json::from_value(described).unwrap())
    }

    #[test]
    fn rules_are_recognized() {
        let sequence = |steps: Json| {
            move |it: &mut Json| {
                it["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps})
            }
        };
        assert_eq!(name(|_| ()), Ok("gpt-2"));
        let digits = json!([{"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": false}]);
        assert_eq!(name(sequence(digits)), Ok("smollm"));
        // As Llama 3's own tokenizer.json has it.
        let llama = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let split = json!([{"type": "Split", "pattern": {"Regex": llama}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]);
        assert_eq!(name(sequence(split.clone())), Ok("dbrx"));
        let whole_words = |it: &mut Json| {
            sequence(split.clone())(it);
            it["model"]["ignore_merges"] = json!(true);
        };
        assert_eq!(name(whole_words), Ok("llama-bpe"));
    }

    #[test]
    fn what_llama_cpp_does_otherwise_is_refused() {
        let refuse = |pointer: &str, value: Json| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            name(|it| it.pointer_mut(parent).unwrap()[key] = value.clone()).unwrap_err()
        };
        let check = |sentence: String, part: &str| assert!(sentence.contains(part), "{sentence}");
        check(refuse("/model/byte_fallback", json!(true)), "SentencePiece");
        check(
            refuse("/model/type", json!("Unigram")),
            "its model is Unigram; supported: BPE",
        );
        check(
            refuse("/normalizer", json!({"type": "NFC"})),
            "normalizer \"NFC\"",
        );
        check(
            refuse("/pre_tokenizer/add_prefix_space", json!(true)),
            "has the step",
        );
        check(
            refuse("/pre_tokenizer", json!(null)),
            "does not work on bytes",
        );
        check(
            refuse(
                "/added_tokens",
                json!([{"id": 1, "content": "<m>", "lstrip": true}]),
            ),
            "\"<m>\"",
        );
        let other = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated"}, {"type": "ByteLevel", "use_regex": false}]});
        check(
            refuse("/pre_tokenizer", other),
            "no name in llama.cpp, [\"x\"]; supported are those of default, gpt-2",
        );
    }
}
