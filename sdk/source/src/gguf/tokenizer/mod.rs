//! The tokenizer of a GGUF file, rebuilt with the `tokenizers` crate so that it gives llama.cpp's
//! token ids.
//!
//! Two models: `gpt2` (byte-level BPE with merges, cut into words by the regexes that
//! `tokenizer.ggml.pre` names) and `llama` (SentencePiece BPE, whose merges follow from the tokens'
//! scores, with bytes for what is not in the vocabulary). Control and unknown tokens become
//! special, user-defined ones added tokens; so text that looks like a special token becomes one,
//! unless `set_encode_special_tokens(true)` asks for plain text.

mod byte_level;
mod control;
mod hf;
mod pre_tokenizer;
mod sentence_piece;
mod to_gguf;

use tokenizers::models::bpe::{BpeBuilder, Vocab};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::metadata::Metadata;
use super::value::Value;
use crate::error::SourceError;
use crate::tokenizer::guarded;

pub(super) use hf::{special_tokens_map, tokenizer_config};
pub(super) use to_gguf::to_entries;

const SUPPORTED: &str = "gpt2, llama";

const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Tokens, their types and the model's name, as every kind of tokenizer has them.
struct Vocabulary<'a> {
    metadata: &'a Metadata<'a>,
    tokens: &'a [String],
    /// Empty where the file has none: then all tokens are normal.
    types: Vec<i64>,
}

/// Rebuilds the tokenizer.
pub(super) fn build(metadata: &Metadata<'_>) -> Result<Tokenizer, SourceError> {
    guarded(|| rebuilt(metadata)).map_err(|what| metadata.tokenizer(what))?
}

fn rebuilt(metadata: &Metadata<'_>) -> Result<Tokenizer, SourceError> {
    let model = model_name(metadata)?;
    let vocabulary = Vocabulary::read(metadata)?;
    let (mut tokenizer, adds_bos) = match model {
        "gpt2" => byte_level::build(&vocabulary)?,
        "llama" => (sentence_piece::build(&vocabulary)?, true),
        found => {
            return Err(metadata.unsupported(
                "tokenizer.ggml.model",
                format!("{found:?}"),
                SUPPORTED,
            ));
        }
    };
    // All at once: each call builds the automaton of all added tokens anew.
    tokenizer.add_special_tokens(&vocabulary.added(&[UNKNOWN, CONTROL]));
    tokenizer.add_tokens(&vocabulary.added(&[USER_DEFINED]));
    if let Some(template) = vocabulary.template(adds_bos)? {
        tokenizer.with_post_processor(Some(template));
    }
    Ok(tokenizer)
}

/// Whether a metadata key is to name a token and names none.
pub(super) fn is_no_token(metadata: &Metadata<'_>, key: &str) -> bool {
    let (Some(name), Ok(vocabulary)) = (
        key.strip_prefix("tokenizer.ggml."),
        Vocabulary::read(metadata),
    ) else {
        return false;
    };
    name.ends_with("_token_id") && matches!(vocabulary.token(name), Ok(None))
}

fn model_name<'a>(metadata: &'a Metadata<'_>) -> Result<&'a str, SourceError> {
    metadata
        .optional_str("tokenizer.ggml.model")?
        .ok_or_else(|| {
            metadata.tokenizer("the file has none (metadata tokenizer.ggml.model is missing)")
        })
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata<'_>) -> Result<Self, SourceError> {
        let Some(Value::Strings(tokens)) = metadata.entries.get("tokenizer.ggml.tokens") else {
            return Err(metadata
                .tokenizer("metadata tokenizer.ggml.tokens is missing or no array of strings"));
        };
        let types = match metadata.entries.get("tokenizer.ggml.token_type") {
            None => Vec::new(),
            Some(value) => value
                .to_i64s()
                .filter(|types| types.len() == tokens.len())
                .ok_or_else(|| {
                    metadata.tokenizer(format!(
                        "{} tokens, but types: {}",
                        tokens.len(),
                        value.describe()
                    ))
                })?,
        };
        Ok(Self {
            metadata,
            tokens,
            types,
        })
    }

    fn type_of(&self, id: usize) -> i64 {
        if control::is_control(&self.tokens[id]) {
            return CONTROL;
        }
        self.types.get(id).copied().unwrap_or(NORMAL)
    }

    /// The tokens of some types, to be recognized in a text before it is cut into words.
    fn added(&self, types: &[i64]) -> Vec<AddedToken> {
        let is_special = types.contains(&CONTROL);
        (self.tokens.iter().enumerate())
            .filter(|&(id, _)| types.contains(&self.type_of(id)))
            .map(|(_, token)| AddedToken::from(token.clone(), is_special).normalized(false))
            .collect()
    }

    /// A builder that knows the vocabulary; where two tokens have one text, the later counts, as in
    /// llama.cpp. The earlier one gets a text that no text is cut into: where an id is missing, the
    /// library prints to standard output, where programs expect an answer.
    fn bpe(&self, merges: Vec<(String, String)>) -> BpeBuilder {
        let ids = self.tokens.iter().zip(0_u32..);
        let mut vocab: Vocab = ids.map(|(token, id)| (token.clone(), id)).collect();
        for (token, id) in self.tokens.iter().zip(0_u32..) {
            if vocab.get(token) != Some(&id) {
                vocab
                    .entry(format!("<unreachable token {id}>"))
                    .or_insert(id);
            }
        }
        BpeBuilder::new().vocab_and_merges(vocab, merges)
    }

    /// The token that a metadata key names; none where there is no such token, which llama.cpp
    /// takes as no token, too.
    fn token(&self, key: &str) -> Result<Option<(u32, &'a str)>, SourceError> {
        let key = format!("tokenizer.ggml.{key}");
        let Some(id) = self.metadata.optional_id(&key)? else {
            return Ok(None);
        };
        let token = self.tokens.get(id as usize);
        Ok(token.map(|token| (id, token.as_str())))
    }

    /// The token that a metadata key names, where it is put around texts.
    fn wanted_token(&self, key: &str) -> Result<Option<(u32, &'a str)>, SourceError> {
        let token = self.token(key)?;
        let key = format!("tokenizer.ggml.{key}");
        match self.metadata.optional_id(&key)? {
            Some(id) if token.is_none() => Err(self.metadata.tokenizer(format!(
                "{key} is {id}, the vocabulary has {} tokens",
                self.tokens.len()
            ))),
            _ => Ok(token),
        }
    }

    /// What `encode(text, true)` puts around a text.
    fn template(&self, adds_bos: bool) -> Result<Option<TemplateProcessing>, SourceError> {
        let wanted = |key: &str, default: bool| {
            let flag = self
                .metadata
                .optional_bool(&format!("tokenizer.ggml.{key}"))?;
            Ok::<_, SourceError>(flag.unwrap_or(default))
        };
        let bos = if wanted("add_bos_token", adds_bos)? {
            self.wanted_token("bos_token_id")?
        } else {
            None
        };
        let eos = if wanted("add_eos_token", false)? {
            self.wanted_token("eos_token_id")?
        } else {
            None
        };
        if bos.is_none() && eos.is_none() {
            return Ok(None);
        }
        let special = |token: Option<(u32, &str)>| token.map(|(id, token)| (token.to_owned(), id));
        let around = |text: &str, type_id: u32| {
            let part =
                |token: Option<(u32, &str)>| token.map(|(_, token)| format!("{token}:{type_id}"));
            [part(bos), Some(format!("${text}:{type_id}")), part(eos)]
                .into_iter()
                .flatten()
        };
        let single: Vec<String> = around("A", 0).collect();
        let pair: Vec<String> = around("A", 0).chain(around("B", 1)).collect();
        let mut tokens: Vec<(String, u32)> =
            [special(bos), special(eos)].into_iter().flatten().collect();
        tokens.dedup();
        let failed = |cause: String| self.metadata.tokenizer(cause);
        TemplateProcessing::builder()
            .try_single(single)
            .map_err(failed)?
            .try_pair(pair)
            .map_err(failed)?
            .special_tokens(tokens)
            .build()
            .map(Some)
            .map_err(|cause| failed(cause.to_string()))
    }
}
