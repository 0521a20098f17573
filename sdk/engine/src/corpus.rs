//! Text as sequences of token ids.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::{EngineError, Result};

/// Sequences of equal length, one after the other from a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    tokens: Vec<i64>,
    sequence_length: usize,
}

impl Corpus {
    /// Reads `num_tokens / sequence_length` sequences (rounded up) from the start of a UTF-8 text. `bos` begins the text, not each sequence.
    ///
    /// # Errors
    /// A file that cannot be read or is not UTF-8, or less text than asked for.
    pub fn read(
        path: &Path,
        tokenizer: &Tokenizer,
        bos: Option<u32>,
        num_tokens: usize,
        sequence_length: usize,
    ) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(EngineError::io(path))?;
        let num_sequences = num_tokens.div_ceil(sequence_length).max(1);
        let needed = num_sequences * sequence_length;
        let encode = |text: &str| -> Result<Vec<i64>> {
            let encoding =
                tokenizer
                    .encode_fast(text, false)
                    .map_err(|error| EngineError::Damaged {
                        path: path.to_path_buf(),
                        reason: format!("the tokenizer refuses the text: {error}"),
                    })?;
            Ok(bos
                .iter()
                .chain(encoding.get_ids())
                .map(|&id| i64::from(id))
                .collect())
        };
        let mut tokens = encode(prefix(&text, needed.saturating_mul(BYTES_PER_TOKEN)))?;
        if tokens.len() < needed {
            tokens = encode(&text)?;
        }
        if tokens.len() < needed {
            return Err(EngineError::TooLittleText {
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

/// More bytes than a token has on average, so that a long text is not tokenized further than needed.
const BYTES_PER_TOKEN: usize = 12;

fn prefix(text: &str, num_bytes: usize) -> &str {
    let mut end = num_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    &text[..end]
}
