//! The texts of a plan as sequences of token ids.

use std::path::Path;

use anyhow::{Context, Result};
use evopress::source::{Corpus, Source, Tokenizer};
use evopress_spec::{Bos, Calibration, Database, Evaluation, Sample};

use crate::sequence_start;

/// The sequences that fitness is measured on, from all of the text.
pub(crate) fn calibration(text: &Calibration, source: &Source) -> Result<Corpus> {
    let (tokenizer, length) = (source.tokenizer()?, text.sequence_length as usize);
    let (path, bos) = (&text.source, bos_of(text.bos, source)?);
    let corpus = Corpus::spread(path, &tokenizer, bos, text.tokens as usize, length)?;
    Ok(corpus.within(source.spec().vocab_size, path, &tokenizer)?)
}

/// The sequences that a level database is built from, from all of the text.
pub(crate) fn database(text: &Database, source: &Source) -> Result<Corpus> {
    let (tokenizer, length) = (source.tokenizer()?, text.sequence_length as usize);
    let (path, bos) = (&text.source, bos_of(text.bos, source)?);
    let corpus = Corpus::spread(path, &tokenizer, bos, text.tokens as usize, length)?;
    Ok(corpus.within(source.spec().vocab_size, path, &tokenizer)?)
}

/// `tokens` tokens of an evaluation set, in sequences.
pub(crate) fn evaluation(set: &Evaluation, source: &Source, tokens: u64) -> Result<Corpus> {
    let (tokenizer, length) = (source.tokenizer()?, set.sequence_length as usize);
    let (path, bos) = (&set.source, bos_of(set.bos, source)?);
    let corpus = match set.sample {
        Sample::Spread => Corpus::spread(path, &tokenizer, bos, tokens as usize, length)?,
        Sample::Start => Corpus::read(path, &tokenizer, bos, tokens as usize, length)?,
    };
    Ok(corpus.within(source.spec().vocab_size, path, &tokenizer)?)
}

/// The token that sequences begin with.
pub(crate) fn bos_of(wanted: Bos, source: &Source) -> Result<Option<u32>> {
    let tokenizer = source.tokenizer()?;
    Ok(sequence_start::token(
        wanted,
        &source.bos_rule(&tokenizer)?,
    )?)
}

/// How much of a text tokenizers are compared on.
const COMPARED_BYTES: usize = 1 << 16;

/// Whether two tokenizers cut a text into equal tokens, with and without the tokens that they put
/// around it.
pub(crate) fn are_cut_alike(path: &Path, one: &Tokenizer, other: &Tokenizer) -> Result<bool> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    let text = String::from_utf8_lossy(&text[..text.len().min(COMPARED_BYTES)]).into_owned();
    for special in [false, true] {
        let ids = |tokenizer: &Tokenizer| -> Result<Vec<u32>> {
            let encoding = evopress::source::encode(tokenizer, &text, special);
            Ok(encoding.map_err(anyhow::Error::msg)?.get_ids().to_vec())
        };
        if ids(one)? != ids(other)? {
            return Ok(false);
        }
    }
    Ok(true)
}
