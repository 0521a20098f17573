//! Text as sequences of token ids.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::SourceError;

/// Sequences of equal length, one after the other from a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    tokens: Vec<i64>,
    sequence_length: usize,
}

impl Corpus {
    /// Reads `num_tokens / sequence_length` sequences (rounded up) from the start of a UTF-8 text,
    /// one after the other. `bos` begins the text, not each sequence. For evaluation.
    ///
    /// # Errors
    /// A file that cannot be read or is not UTF-8, or less text than asked for.
    pub fn read(
        path: &Path,
        tokenizer: &Tokenizer,
        bos: Option<u32>,
        num_tokens: usize,
        sequence_length: usize,
    ) -> Result<Self, SourceError> {
        let text = std::fs::read_to_string(path).map_err(|cause| SourceError::Read {
            file: path.to_path_buf(),
            cause,
        })?;
        let needed = num_tokens.div_ceil(sequence_length).max(1) * sequence_length;
        let encode = |text: &str| -> Result<Vec<i64>, SourceError> {
            let ids = encode(path, tokenizer, text)?;
            Ok(bos.iter().map(|&id| i64::from(id)).chain(ids).collect())
        };
        let mut tokens = encode(prefix(&text, needed.saturating_mul(BYTES_PER_TOKEN)))?;
        if tokens.len() < needed {
            tokens = encode(&text)?;
        }
        if tokens.len() < needed {
            return Err(SourceError::TooLittleText {
                path: path.to_path_buf(),
                found: tokens.len(),
                needed,
            });
        }
        tokens.truncate(needed);
        Ok(Self {
            tokens,
            sequence_length,
        })
    }

    /// Reads `num_tokens / sequence_length` sequences (rounded up) at even distances over the whole
    /// of a UTF-8 text: what is calibrated on them has seen all of it. Each sequence begins with a
    /// word.
    ///
    /// # Errors
    /// As [`Corpus::read`].
    pub fn spread(
        path: &Path,
        tokenizer: &Tokenizer,
        num_tokens: usize,
        sequence_length: usize,
    ) -> Result<Self, SourceError> {
        let text = std::fs::read_to_string(path).map_err(|cause| SourceError::Read {
            file: path.to_path_buf(),
            cause,
        })?;
        let num_sequences = num_tokens.div_ceil(sequence_length).max(1);
        let needed = num_sequences * sequence_length;
        let window = sequence_length.saturating_mul(BYTES_PER_TOKEN);
        let mut tokens = Vec::with_capacity(needed);
        if text.len() >= num_sequences.saturating_mul(window) {
            for idx in 0..num_sequences {
                let rest = from_word(&text, text.len() / num_sequences * idx);
                let ids = encode(path, tokenizer, prefix(rest, window))?;
                tokens.extend(ids.into_iter().take(sequence_length));
            }
        }
        if tokens.len() < needed {
            // A short text, or one of long words: what there is, with sequences left out evenly.
            let all = encode(path, tokenizer, &text)?;
            let available = all.len() / sequence_length;
            if available < num_sequences {
                return Err(SourceError::TooLittleText {
                    path: path.to_path_buf(),
                    found: all.len(),
                    needed,
                });
            }
            let starts = (0..num_sequences).map(|idx| idx * available / num_sequences);
            tokens = starts
                .flat_map(|start| &all[start * sequence_length..][..sequence_length])
                .copied()
                .collect();
        }
        Ok(Self {
            tokens,
            sequence_length,
        })
    }

    /// From token ids that are there already; what does not fill a sequence is left out.
    pub fn from_tokens(mut tokens: Vec<i64>, sequence_length: usize) -> Self {
        tokens.truncate(tokens.len() / sequence_length * sequence_length);
        Self {
            tokens,
            sequence_length,
        }
    }

    /// How many sequences there are.
    pub fn num_sequences(&self) -> usize {
        self.tokens.len() / self.sequence_length
    }

    /// Tokens of a sequence.
    pub fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    /// Token ids of one sequence.
    pub fn sequence(&self, idx: usize) -> &[i64] {
        &self.tokens[idx * self.sequence_length..][..self.sequence_length]
    }
}

/// More bytes than a token has on average, so that a long text is not tokenized further than
/// needed.
const BYTES_PER_TOKEN: usize = 12;

fn encode(path: &Path, tokenizer: &Tokenizer, text: &str) -> Result<Vec<i64>, SourceError> {
    let encoding = tokenizer
        .encode_fast(text, false)
        .map_err(|error| SourceError::Malformed {
            file: path.to_path_buf(),
            what: format!("the tokenizer refuses the text: {error}"),
        })?;
    Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
}

/// What follows the first white space at or after a byte; the whole text from its start.
fn from_word(text: &str, mut start: usize) -> &str {
    if start == 0 {
        return text;
    }
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let rest = &text[start..];
    let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
    rest[word..].trim_start()
}

fn prefix(text: &str, num_bytes: usize) -> &str {
    let mut end = num_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token a word: `w17` is token 17.
    fn words() -> Tokenizer {
        let vocabulary: Vec<String> = (0..1000).map(|idx| format!("\"w{idx}\": {idx}")).collect();
        let json = format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
                "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": null, "decoder": null,
                "model": {{"type": "WordLevel", "vocab": {{{}}}, "unk_token": "w0"}}}}"#,
            vocabulary.join(", ")
        );
        json.parse().unwrap()
    }

    fn text(num_words: usize) -> tempfile::NamedTempFile {
        let words: Vec<String> = (0..num_words).map(|idx| format!("w{idx}")).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), words.join(" ")).unwrap();
        file
    }

    #[test]
    fn sequences_are_spread_over_the_whole_text() {
        // A long text is read in windows, a short one whole.
        for (num_words, expected) in [(1000, [0, 267, 511, 756]), (30, [0, 4, 12, 20])] {
            let file = text(num_words);
            let corpus = Corpus::spread(file.path(), &words(), 16, 4).unwrap();
            let starts: Vec<i64> = (0..4).map(|idx| corpus.sequence(idx)[0]).collect();
            assert_eq!(starts, expected, "{num_words} words");
            for idx in 0..4 {
                let sequence = corpus.sequence(idx);
                let next: Vec<i64> = (0..4).map(|word| sequence[0] + word).collect();
                assert_eq!(sequence, next, "each sequence is a run of the text");
            }
        }
    }

    #[test]
    fn a_text_that_is_just_long_enough_is_used_whole() {
        let file = text(16);
        let corpus = Corpus::spread(file.path(), &words(), 16, 4).unwrap();
        let all: Vec<i64> = (0..16).collect();
        assert_eq!(corpus, Corpus::from_tokens(all, 4));
        let error = Corpus::spread(file.path(), &words(), 20, 4).unwrap_err();
        assert!(
            error.to_string().ends_with("16 tokens, but 20 are needed"),
            "{error}"
        );
    }
}
