//! SentencePiece BPE, `tokenizer.ggml.model = "llama"`.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::{DecoderWrapper, Tokenizer};

use super::{NORMAL, USER_DEFINED, Vocabulary};
use crate::error::SourceError;
use crate::gguf::value::Value;

/// Stands for a space.
const SPACE: &str = "▁";

pub(super) fn build(vocabulary: &Vocabulary<'_>) -> Result<Tokenizer, SourceError> {
    let metadata = vocabulary.metadata;
    let failed = |cause: tokenizers::Error| metadata.tokenizer(cause.to_string());
    let mut builder = vocabulary
        .bpe(merges(vocabulary)?)
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some((_, unknown)) = vocabulary.token("unknown_token_id")? {
        builder = builder.unk_token(unknown.into());
    }
    let prefix = metadata
        .optional_bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(SPACE, " ").map_err(failed)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if prefix {
        normalizers.push(Prepend::new(SPACE.into()).into());
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    normalizers.push(Replace::new(" ", SPACE).map_err(failed)?.into());
    let mut tokenizer = Tokenizer::new(builder.build().map_err(failed)?);
    tokenizer
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// Every way to put a token together from two others, the best-scored tokens first: SentencePiece
/// always merges the neighbours whose union scores best. Plain text never merges to a control
/// token, as in SentencePiece itself.
fn merges(vocabulary: &Vocabulary<'_>) -> Result<Vec<(String, String)>, SourceError> {
    let tokens = vocabulary.tokens;
    let scores = match vocabulary.metadata.entries.get("tokenizer.ggml.scores") {
        Some(Value::Floats(scores)) if scores.len() == tokens.len() => scores,
        _ => {
            return Err(vocabulary.metadata.tokenizer(format!(
                "metadata tokenizer.ggml.scores is missing or not {} floats",
                tokens.len()
            )));
        }
    };
    let ids: HashMap<&str, usize> = tokens.iter().map(String::as_str).zip(0..).collect();
    let lengths: HashSet<usize> = tokens.iter().map(String::len).collect();
    let mut merges = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        if !matches!(vocabulary.type_of(id), NORMAL | USER_DEFINED) {
            continue;
        }
        for (middle, _) in token.char_indices().skip(1) {
            // To look up both parts at each place would take the square of a long token's length.
            if !lengths.contains(&middle) || !lengths.contains(&(token.len() - middle)) {
                continue;
            }
            let (left, right) = token.split_at(middle);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((id, left, right));
            }
        }
    }
    let key = |score: f64| {
        // A total order of floats that the sort can use as a key.
        let bits = score.to_bits() as i64;
        bits ^ ((bits >> 63) as u64 >> 1) as i64
    };
    merges.sort_by_cached_key(|&(id, left, _)| (Reverse(key(scores[id])), id, left.len()));
    Ok(merges
        .into_iter()
        .map(|(_, left, right)| (left.to_owned(), right.to_owned()))
        .collect())
}
