//! Forward passes of a compute thread.

use evopress_search::genotype::Candidate;
use tch::Tensor;

use crate::error::Result;
use crate::head::Head;
use crate::model::Model;
use crate::stream::Stream;

/// What each compute thread owns.
pub struct Context {
    /// A handle to the model.
    pub model: Model,
    /// A handle to its head.
    pub head: Head,
}

impl Context {
    /// Final hidden states `[L − 1, D]` of a sequence: the last token has nothing after it to
    /// predict.
    ///
    /// # Errors
    /// When the forward pass fails.
    pub fn hidden(&self, tokens: &[i64], candidate: &Candidate) -> Result<Tensor> {
        let hidden = self.model.forward(tokens, candidate)?;
        Ok(hidden.f_narrow(0, 0, tokens.len() as i64 - 1)?)
    }

    /// The stream of sequences of one length before the first block.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn embed(&self, sequences: &[&[i64]]) -> Result<Stream> {
        self.model.embed(sequences)
    }
}
