//! Text as sequences of token ids.

use std::collections::HashMap;
use std::path::Path;

use evopress_core::text;
use tokenizers::Tokenizer;

use crate::error::SourceError;
use crate::tokenizer;

/// Sequences of equal length, one after the other from a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    tokens: Vec<i64>,
    sequence_length: usize,
}

impl Corpus {
    /// Reads `num_tokens / sequence_length` sequences (rounded up) from the start of a UTF-8 text,
    /// one after the other. With `bos`, each holds that token and `sequence_length - 1` tokens of
    /// the text; `sequence_length` is then 2 at least. For evaluation.
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
        let text = text::read(path).map_err(|error| SourceError::of_text(error, path))?;
        let num_sequences = num_tokens.div_ceil(sequence_length).max(1);
        let part = text_tokens(sequence_length, bos);
        let needed = num_sequences * part;
        let window = needed.saturating_mul(BYTES_PER_TOKEN);
        let mut tokens = encode(path, tokenizer, prefix(&text, window))?;
        if tokens.len() < needed {
            tokens = encode(path, tokenizer, &text)?;
        }
        if tokens.len() < needed {
            return Err(SourceError::TooLittleText {
                path: path.to_path_buf(),
                found: tokens.len(),
                needed,
            });
        }
        let parts = tokens.chunks_exact(part).take(num_sequences);
        Ok(Self::of_parts(parts, bos, sequence_length))
    }

    /// Reads `num_tokens / sequence_length` sequences (rounded up) at even distances over the whole
    /// of a UTF-8 text: what is calibrated on them has seen all of it. The text of each begins with
    /// a word; `bos` as in [`Corpus::read`].
    ///
    /// # Errors
    /// As [`Corpus::read`].
    pub fn spread(
        path: &Path,
        tokenizer: &Tokenizer,
        bos: Option<u32>,
        num_tokens: usize,
        sequence_length: usize,
    ) -> Result<Self, SourceError> {
        let text = text::read(path).map_err(|error| SourceError::of_text(error, path))?;
        let num_sequences = num_tokens.div_ceil(sequence_length).max(1);
        let part = text_tokens(sequence_length, bos);
        let needed = num_sequences * part;
        let window = part.saturating_mul(BYTES_PER_TOKEN);
        let mut tokens = Vec::with_capacity(needed);
        if text.len() >= num_sequences.saturating_mul(window) {
            for idx in 0..num_sequences {
                let rest = from_word(&text, text.len() / num_sequences * idx);
                let ids = encode(path, tokenizer, prefix(rest, window))?;
                tokens.extend(ids.into_iter().take(part));
            }
        }
        if tokens.len() < needed {
            // A short text, or one of long words: what there is, with sequences left out evenly.
            let all = encode(path, tokenizer, &text)?;
            let available = all.len() / part;
            if available < num_sequences {
                return Err(SourceError::TooLittleText {
                    path: path.to_path_buf(),
                    found: all.len(),
                    needed,
                });
            }
            let starts = (0..num_sequences).map(|idx| idx * available / num_sequences);
            let parts = starts.map(|start| &all[start * part..][..part]);
            return Ok(Self::of_parts(parts, bos, sequence_length));
        }
        Ok(Self::of_parts(
            tokens.chunks_exact(part),
            bos,
            sequence_length,
        ))
    }

    /// Sequences of parts of a text, each after `bos`.
    fn of_parts<'a>(
        parts: impl Iterator<Item = &'a [i64]>,
        bos: Option<u32>,
        sequence_length: usize,
    ) -> Self {
        let bos = bos.map(i64::from);
        let tokens = parts.flat_map(|part| bos.into_iter().chain(part.iter().copied()));
        Self {
            tokens: tokens.collect(),
            sequence_length,
        }
    }

    /// The sequences, if the model has an embedding for each of their tokens. `path` and
    /// `tokenizer` are those that the sequences were read with.
    ///
    /// # Errors
    /// A token without an embedding, and where the text has it.
    pub fn within(
        self,
        num_embeddings: i64,
        path: &Path,
        tokenizer: &Tokenizer,
    ) -> Result<Self, SourceError> {
        let mut ids = self.tokens.iter().copied();
        let Some(id) = ids.find(|id| *id >= num_embeddings) else {
            return Ok(self);
        };
        let (line, column) = place_of(id, path, tokenizer)?;
        Err(SourceError::TokenWithoutEmbedding {
            path: path.to_path_buf(),
            line,
            column,
            id,
            token: u32::try_from(id)
                .ok()
                .and_then(|id| tokenizer.id_to_token(id))
                .unwrap_or_default(),
            num_embeddings,
        })
    }

    /// The most frequent token and its share of all tokens, from 0 to 1; none where there are no
    /// tokens.
    pub fn most_frequent(&self) -> Option<(i64, f64)> {
        let mut counts: HashMap<i64, usize> = HashMap::new();
        for id in &self.tokens {
            *counts.entry(*id).or_default() += 1;
        }
        let (id, count) = counts.into_iter().max_by_key(|(id, count)| (*count, *id))?;
        Some((id, count as f64 / self.tokens.len() as f64))
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

/// Tokens of the text in a sequence.
fn text_tokens(sequence_length: usize, bos: Option<u32>) -> usize {
    sequence_length - usize::from(bos.is_some())
}

/// More bytes than a token has on average, so that a long text is not tokenized further than
/// needed.
const BYTES_PER_TOKEN: usize = 12;

fn encode(path: &Path, tokenizer: &Tokenizer, text: &str) -> Result<Vec<i64>, SourceError> {
    let ids = tokenizer::ids(tokenizer, text).map_err(|what| refused(path, &what))?;
    Ok(ids.into_iter().map(i64::from).collect())
}

/// Line and column of the first token `id` of a text, counted from 1.
fn place_of(id: i64, path: &Path, tokenizer: &Tokenizer) -> Result<(usize, usize), SourceError> {
    let content = text::read(path).map_err(|error| SourceError::of_text(error, path))?;
    let encoding = tokenizer::encode(tokenizer, &content, false);
    let encoding = encoding.map_err(|what| refused(path, &what))?;
    let idx = encoding
        .get_ids()
        .iter()
        .position(|it| i64::from(*it) == id);
    let start = idx.map_or(0, |idx| encoding.get_offsets()[idx].0);
    Ok(text::place(&content, start))
}

fn refused(path: &Path, what: &str) -> SourceError {
    SourceError::malformed(path, format!("the tokenizer refuses the text: {what}"))
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
            let corpus = Corpus::spread(file.path(), &words(), None, 16, 4).unwrap();
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
    fn a_token_without_an_embedding_is_told_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "w1 w2\nw3 w7 w2 w8").unwrap();
        let read = || Corpus::read(file.path(), &words(), None, 6, 3).unwrap();
        assert_eq!(read().within(9, file.path(), &words()).unwrap(), read());
        let error = read().within(7, file.path(), &words()).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.ends_with(
                "token 7 (\"w7\") at line 2, column 4 is not among the model's 7 embeddings"
            ),
            "{sentence}"
        );
    }

    #[test]
    fn the_most_frequent_token_is_found() {
        let corpus = Corpus::from_tokens(vec![3, 5, 5, 5], 2);
        assert_eq!(corpus.most_frequent(), Some((5, 0.75)));
        assert_eq!(Corpus::from_tokens(vec![], 2).most_frequent(), None);
    }

    #[test]
    fn a_text_that_is_no_text_is_told_once_and_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"w1 w2\nw3 \xFF w7").unwrap();
        let error = Corpus::spread(file.path(), &words(), None, 4, 4).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.ends_with(
                ": the byte 0xFF at line 2, column 4 is not UTF-8: save the file as UTF-8"
            ),
            "{sentence}"
        );
    }

    #[test]
    fn each_sequence_begins_with_bos() {
        let tokens = |corpus: &Corpus| -> Vec<Vec<i64>> {
            let all = 0..corpus.num_sequences();
            all.map(|idx| corpus.sequence(idx).to_vec()).collect()
        };
        let file = text(12);
        let bos = Some(999);
        let expected = [[999, 0, 1, 2], [999, 3, 4, 5], [999, 6, 7, 8]];
        let read = Corpus::read(file.path(), &words(), bos, 12, 4).unwrap();
        assert_eq!(tokens(&read), expected);
        // Three sequences of the four that there are: evenly left out.
        let spread = Corpus::spread(file.path(), &words(), bos, 12, 4).unwrap();
        assert_eq!(tokens(&spread), expected);
        let file = text(1000);
        let long = Corpus::spread(file.path(), &words(), bos, 16, 4).unwrap();
        for sequence in tokens(&long) {
            let first = sequence[1];
            assert_eq!(sequence, [999, first, first + 1, first + 2]);
        }
        let too_short = Corpus::read(file.path(), &words(), bos, 1336, 4).unwrap_err();
        assert!(
            too_short
                .to_string()
                .ends_with("1000 tokens, but 1002 are needed"),
            "{too_short}"
        );
    }

    #[test]
    fn a_text_that_is_just_long_enough_is_used_whole() {
        let file = text(16);
        let corpus = Corpus::spread(file.path(), &words(), None, 16, 4).unwrap();
        let all: Vec<i64> = (0..16).collect();
        assert_eq!(corpus, Corpus::from_tokens(all, 4));
        let error = Corpus::spread(file.path(), &words(), None, 20, 4).unwrap_err();
        assert!(
            error.to_string().ends_with("16 tokens, but 20 are needed"),
            "{error}"
        );
    }
}
