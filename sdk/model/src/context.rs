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
        Ok(self.hidden_of_all(&[tokens], &[candidate])?.swap_remove(0))
    }

    /// Final hidden states `[L − 1, D]` of sequences of one length, each with a candidate of its
    /// own, in one pass.
    ///
    /// # Errors
    /// When the forward pass fails.
    pub fn hidden_of_all(
        &self,
        sequences: &[&[i64]],
        candidates: &[&Candidate],
    ) -> Result<Vec<Tensor>> {
        let stream = self.embed(sequences)?;
        let hidden = self
            .model
            .forward_from(0, stream, candidates, &mut |_| Ok(()))?;
        let num_sequences = sequences.len() as i64;
        let length = hidden.size()[0] / num_sequences;
        (0..num_sequences)
            .map(|idx| Ok(hidden.f_narrow(0, idx * length, length - 1)?))
            .collect()
    }

    /// The residual stream of sequences of one length before each block and after the last.
    ///
    /// # Errors
    /// When the forward pass fails.
    pub fn boundaries(&self, sequences: &[&[i64]], candidate: &Candidate) -> Result<Vec<Tensor>> {
        let mut stream = self.embed(sequences)?;
        let mut boundaries = vec![stream.snapshot()?];
        for block_idx in 0..self.model.spec().num_blocks() {
            self.model.run_block(block_idx, &mut stream, &[candidate])?;
            boundaries.push(stream.snapshot()?);
        }
        Ok(boundaries)
    }

    /// The stream of sequences of one length before the first block.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn embed(&self, sequences: &[&[i64]]) -> Result<Stream> {
        let ids = Tensor::f_from_slice(&sequences.concat())?
            .f_view([sequences.len() as i64, -1])?
            .f_to_device(self.model.device())?;
        self.model.embed(&ids)
    }
}
