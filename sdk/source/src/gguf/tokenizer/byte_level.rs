//! Byte-level BPE, `tokenizer.ggml.model = "gpt2"`.

use std::collections::HashSet;

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use super::Vocabulary;
use super::pre_tokenizer::PreTokenizer;
use crate::error::SourceError;
use crate::gguf::value::Value;

/// The tokenizer, and whether it begins a text with a token by default.
pub(super) fn build(vocabulary: &Vocabulary<'_>) -> Result<(Tokenizer, bool), SourceError> {
    let metadata = vocabulary.metadata;
    let name = metadata
        .optional_str("tokenizer.ggml.pre")?
        .unwrap_or("default");
    let pre_tokenizer = PreTokenizer::named(name).ok_or_else(|| {
        metadata.unsupported(
            "tokenizer.ggml.pre",
            format!("{name:?}"),
            &PreTokenizer::supported(),
        )
    })?;
    let failed = |cause: tokenizers::Error| metadata.tokenizer(cause.to_string());
    let bpe = vocabulary
        .bpe(merges(vocabulary)?)
        .ignore_merges(pre_tokenizer.whole_words)
        .build()
        .map_err(failed)?;
    let split = |regex: &str, behavior| {
        Split::new(SplitPattern::Regex(regex.into()), behavior, false)
            .map(PreTokenizerWrapper::from)
    };
    let mut steps = Vec::new();
    for regex in pre_tokenizer.regexes {
        steps.push(split(regex, SplitDelimiterBehavior::Isolated).map_err(failed)?);
    }
    let byte_level = ByteLevel::new(false, true, false);
    steps.push(byte_level.into());
    if let Some(regex) = missing_bytes(vocabulary.tokens) {
        steps.push(split(&regex, SplitDelimiterBehavior::Removed).map_err(failed)?);
    }
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer
        .with_pre_tokenizer(Some(Sequence::new(steps)))
        .with_decoder(Some(byte_level));
    Ok((tokenizer, pre_tokenizer.adds_bos))
}

fn merges(vocabulary: &Vocabulary<'_>) -> Result<Vec<(String, String)>, SourceError> {
    let Some(Value::Strings(merges)) = vocabulary.metadata.entries.get("tokenizer.ggml.merges")
    else {
        return Err(vocabulary
            .metadata
            .tokenizer("metadata tokenizer.ggml.merges is missing or no array of strings"));
    };
    let pair = |merge: &String| {
        // The left token may itself begin with a space.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let (left, right) = merge.get(first..)?.split_once(' ')?;
        Some((format!("{}{left}", &merge[..first]), right.to_owned()))
    };
    merges
        .iter()
        .map(|merge| {
            let broken = || {
                vocabulary.metadata.tokenizer(format!(
                    "merge {merge:?}, expected two tokens with a space between"
                ))
            };
            pair(merge).ok_or_else(broken)
        })
        .collect()
}

/// A vocabulary may lack a byte that its corpus never had (SmolLM2 lacks 21). llama.cpp drops such
/// a byte but does not merge across it; the `tokenizers` crate would. So cut there.
fn missing_bytes(tokens: &[String]) -> Option<String> {
    let present: HashSet<&str> = tokens.iter().map(String::as_str).collect();
    let mut missing: Vec<char> = ByteLevel::alphabet()
        .into_iter()
        .filter(|letter| !present.contains(letter.to_string().as_str()))
        .collect();
    missing.sort_unstable();
    if missing.is_empty() {
        return None;
    }
    let class: String = missing
        .iter()
        .map(|&letter| format!("\\x{{{:x}}}", u32::from(letter)))
        .collect();
    Some(format!("[{class}]"))
}
