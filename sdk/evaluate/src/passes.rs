//! Forward passes of candidates over sequences of a corpus, begun as late as what is cached of the
//! parent allows.

use std::sync::Arc;

use evopress_model::{Context, Stream};
use evopress_search::genotype::Candidate;
use evopress_source::Corpus;
use tch::Tensor;

use crate::error::Result;
use crate::residual_cache::{Begin, ResidualCache};

/// A candidate and the sequence of the corpus that it runs over.
pub(crate) type CandidateSequence = (Arc<Candidate>, usize);

/// Final hidden states `[L − 1, D]`: of several pairs in one pass, or of one alone.
pub(crate) fn hidden_states(
    context: &Context,
    cache: &ResidualCache,
    corpus: &Corpus,
    pairs: &[CandidateSequence],
) -> Result<Vec<Tensor>> {
    if let [(candidate, sequence_idx)] = pairs {
        let hidden = hidden_after_parent(context, cache, corpus, *sequence_idx, candidate)?;
        return Ok(vec![hidden]);
    }
    let sequences: Vec<&[i64]> = pairs.iter().map(|(_, idx)| corpus.sequence(*idx)).collect();
    let candidates = pairs.iter().map(|(candidate, _)| candidate.as_ref());
    Ok(context.hidden_of_all(&sequences, &candidates.collect::<Vec<_>>())?)
}

/// Final hidden states `[L − 1, D]` of one candidate and sequence, begun at the first block in
/// which the candidate differs from the parent whose residual streams are cached.
fn hidden_after_parent(
    context: &Context,
    cache: &ResidualCache,
    corpus: &Corpus,
    sequence_idx: usize,
    candidate: &Candidate,
) -> Result<Tensor> {
    let (tokens, model) = (corpus.sequence(sequence_idx), &context.model);
    let hidden = match cache.begin(candidate, sequence_idx)? {
        Begin::Start => return Ok(context.hidden(tokens, candidate)?),
        Begin::At(first_block, stream) => {
            model.forward_from(first_block, stream, &[candidate], &mut |_| Ok(()))?
        }
        Begin::Record => {
            let mut streams = Vec::with_capacity(model.spec().num_blocks());
            let mut record = |stream: &Stream| {
                streams.push(stream.snapshot()?);
                Ok(())
            };
            let stream = context.embed(&[tokens])?;
            let hidden = model.forward_from(0, stream, &[candidate], &mut record)?;
            // Nothing begins after the last block.
            streams.pop();
            cache.insert(candidate, sequence_idx, streams);
            hidden
        }
    };
    Ok(hidden.f_narrow(0, 0, tokens.len() as i64 - 1)?)
}
