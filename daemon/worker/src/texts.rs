//! The texts of a plan as sequences of token ids.

use anyhow::Result;
use evopress::source::Corpus;
use evopress::source::Source;
use evopress_spec::{Calibration, Database, Evaluation, Sample};

/// The sequences that fitness is measured on, from all of the text.
pub(crate) fn calibration(text: &Calibration, source: &Source) -> Result<Corpus> {
    let (tokenizer, length) = (source.tokenizer()?, text.sequence_length as usize);
    Ok(Corpus::spread(
        &text.source,
        &tokenizer,
        text.tokens as usize,
        length,
    )?)
}

/// The sequences that a level database is built from, from all of the text.
pub(crate) fn database(text: &Database, source: &Source) -> Result<Corpus> {
    let (tokenizer, length) = (source.tokenizer()?, text.sequence_length as usize);
    Ok(Corpus::spread(
        &text.source,
        &tokenizer,
        text.tokens as usize,
        length,
    )?)
}

/// `tokens` tokens of an evaluation set, in sequences.
pub(crate) fn evaluation(set: &Evaluation, source: &Source, tokens: u64) -> Result<Corpus> {
    let (tokenizer, length) = (source.tokenizer()?, set.sequence_length as usize);
    Ok(match set.sample {
        Sample::Spread => Corpus::spread(&set.source, &tokenizer, tokens as usize, length)?,
        Sample::Start => Corpus::read(&set.source, &tokenizer, None, tokens as usize, length)?,
    })
}
