//! Forward passes of a compute thread.

use std::sync::Arc;

use tch::Tensor;

use crate::corpus::Corpus;
use crate::error::Result;
use crate::genotype::Candidate;
use crate::head::Head;
use crate::model::{Model, Stream};
use crate::prefixes::{Begin, Prefixes};

/// A candidate, and the sequence of the corpus that it goes over.
pub(super) type Lane = (Arc<Candidate>, usize);

/// What each compute thread owns.
pub(crate) struct Context {
    pub(crate) model: Model,
    pub(crate) head: Head,
}

impl Context {
    /// Final hidden states `[L − 1, D]` of a sequence: the last token has nothing after it to predict.
    pub(crate) fn hidden(&self, tokens: &[i64], candidate: &Candidate) -> Result<Tensor> {
        Ok(self.hidden_of_all(&[tokens], &[candidate])?.swap_remove(0))
    }

    /// The same of sequences of one length, each with a candidate of its own, in one pass.
    pub(crate) fn hidden_of_all(
        &self,
        sequences: &[&[i64]],
        lanes: &[&Candidate],
    ) -> Result<Vec<Tensor>> {
        let stream = self.embed(sequences)?;
        let hidden = self.model.forward_from(0, stream, lanes, &mut |_| Ok(()))?;
        let num_sequences = sequences.len() as i64;
        let length = hidden.size()[0] / num_sequences;
        (0..num_sequences)
            .map(|idx| Ok(hidden.f_narrow(0, idx * length, length - 1)?))
            .collect()
    }

    /// The same of a corpus: several in one pass, or one alone.
    pub(super) fn hidden_of_lanes(
        &self,
        prefixes: &Prefixes,
        corpus: &Corpus,
        lanes: &[Lane],
    ) -> Result<Vec<Tensor>> {
        if let [(candidate, sequence_idx)] = lanes {
            let hidden = self.hidden_after(prefixes, corpus, *sequence_idx, candidate)?;
            return Ok(vec![hidden]);
        }
        let sequences = lanes.iter().map(|(_, idx)| corpus.sequence(*idx));
        let candidates = lanes.iter().map(|(candidate, _)| candidate.as_ref());
        self.hidden_of_all(
            &sequences.collect::<Vec<_>>(),
            &candidates.collect::<Vec<_>>(),
        )
    }

    /// The same of one candidate and sequence, begun at the first block that the candidate does not share with the parent whose
    /// prefixes there are.
    fn hidden_after(
        &self,
        prefixes: &Prefixes,
        corpus: &Corpus,
        sequence_idx: usize,
        candidate: &Candidate,
    ) -> Result<Tensor> {
        let tokens = corpus.sequence(sequence_idx);
        let hidden = match prefixes.begin(candidate, sequence_idx)? {
            Begin::Start => return self.hidden(tokens, candidate),
            Begin::At(first_block, stream) => {
                self.model
                    .forward_from(first_block, stream, &[candidate], &mut |_| Ok(()))?
            }
            Begin::Record => {
                let mut streams = Vec::with_capacity(self.model.config().num_blocks);
                let mut record = |stream: &Stream| {
                    streams.push(stream.snapshot()?);
                    Ok(())
                };
                let stream = self.embed(&[tokens])?;
                let hidden = self
                    .model
                    .forward_from(0, stream, &[candidate], &mut record)?;
                // Nothing begins after the last block.
                streams.pop();
                prefixes.keep(candidate, sequence_idx, streams);
                hidden
            }
        };
        Ok(hidden.f_narrow(0, 0, tokens.len() as i64 - 1)?)
    }

    /// The residual stream of sequences of one length before each block and after the last.
    pub(crate) fn boundaries(
        &self,
        sequences: &[&[i64]],
        candidate: &Candidate,
    ) -> Result<Vec<Tensor>> {
        let mut stream = self.embed(sequences)?;
        let mut boundaries = vec![stream.snapshot()?];
        for block_idx in 0..self.model.config().num_blocks {
            self.model.run_block(block_idx, &mut stream, &[candidate])?;
            boundaries.push(stream.snapshot()?);
        }
        Ok(boundaries)
    }

    /// The stream of sequences of one length before the first block.
    pub(crate) fn embed(&self, sequences: &[&[i64]]) -> Result<Stream> {
        let ids = Tensor::f_from_slice(&sequences.concat())?
            .f_view([sequences.len() as i64, -1])?
            .f_to_device(self.model.device())?;
        self.model.embed(&ids)
    }
}
