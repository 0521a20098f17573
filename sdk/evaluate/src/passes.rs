//! Forward passes of candidates over sequences of a corpus, begun as late as what is cached of the
//! parent allows.

use std::sync::Arc;

use evopress_model::{Context, Engine, Items, Stream, Walk};
use evopress_search::genotype::Candidate;
use evopress_source::Corpus;
use tch::Tensor;

use crate::error::{EvaluateError, Result};
use crate::residual_cache::{Begin, ResidualCache};

/// A candidate and the sequence of the corpus that it runs over.
pub(crate) type CandidateSequence = (Arc<Candidate>, usize);

/// Passes of all candidates over all sequences that they are given.
pub(crate) struct Passes<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) corpus: &'a Arc<Corpus>,
    pub(crate) cache: Option<Arc<ResidualCache>>,
}

impl Passes<'_> {
    /// What `read` makes of the final hidden states `[L − 1, D]` of each pair: the last token has
    /// nothing after it to predict. `progress` is told how many of how many are done.
    pub(crate) fn run<R, F>(
        &self,
        pairs: &[CandidateSequence],
        read: F,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<R>>
    where
        R: Send + 'static,
        F: Fn(&Context, &Tensor, usize) -> Result<R> + Send + Sync + 'static,
    {
        let batch_size = self.engine.batch_size(self.corpus.sequence_length());
        let items: Vec<_> = pairs.chunks(batch_size).map(<[_]>::to_vec).collect();
        let mut candidates: Vec<Arc<Candidate>> = Vec::new();
        for (candidate, _) in pairs {
            if !candidates.iter().any(|known| Arc::ptr_eq(known, candidate)) {
                candidates.push(Arc::clone(candidate));
            }
        }
        let walk = Pass {
            corpus: Arc::clone(self.corpus),
            cache: self.cache.clone(),
            read,
        };
        let done = |batches: usize| progress((batches * batch_size).min(pairs.len()), pairs.len());
        let items = Items {
            items,
            candidates,
            state_bytes: stream_bytes(self.engine, batch_size * self.corpus.sequence_length()),
            at_once: usize::MAX,
        };
        let passes = self.engine.walk(walk, items, done)?;
        Ok(passes.into_iter().flatten().collect())
    }

    /// As [`Self::run`], of the dense model over some sequences.
    pub(crate) fn run_dense<R, F>(
        &self,
        sequence_idxs: impl IntoIterator<Item = usize>,
        read: F,
        progress: impl FnMut(usize, usize),
    ) -> Result<Vec<R>>
    where
        R: Send + 'static,
        F: Fn(&Context, &Tensor, usize) -> Result<R> + Send + Sync + 'static,
    {
        let dense = Arc::new(self.engine.dense().clone());
        let pairs = sequence_idxs.into_iter();
        let pairs: Vec<_> = pairs.map(|idx| (Arc::clone(&dense), idx)).collect();
        self.run(&pairs, read, progress)
    }
}

/// Bytes of the residual stream of so many tokens.
pub(crate) fn stream_bytes(engine: &Engine, num_tokens: usize) -> u64 {
    (num_tokens as i64 * engine.spec().hidden_size * 4) as u64
}

struct Pass<F> {
    corpus: Arc<Corpus>,
    cache: Option<Arc<ResidualCache>>,
    read: F,
}

/// Pairs between two blocks.
struct Passing {
    candidates: Vec<Arc<Candidate>>,
    sequence_idxs: Vec<usize>,
    stream: Stream,
    first_block: usize,
    /// Where they are wanted: the streams before each block but the first.
    recorded: Option<Vec<Tensor>>,
}

impl<R, F> Walk for Pass<F>
where
    R: Send + 'static,
    F: Fn(&Context, &Tensor, usize) -> Result<R> + Send + Sync + 'static,
{
    type Item = Vec<CandidateSequence>;
    type State = Passing;
    type Output = Vec<R>;
    type Error = EvaluateError;

    fn begin(&self, context: &mut Context, pairs: Vec<CandidateSequence>) -> Result<Passing> {
        let (mut first_block, mut recorded, mut stream) = (0, None, None);
        // Candidates that share a pass begin together.
        if let ([(candidate, sequence_idx)], Some(cache)) = (pairs.as_slice(), &self.cache) {
            match cache.begin(candidate, *sequence_idx, self.corpus.sequence_length())? {
                Begin::Start => {}
                Begin::At(block_idx, of_parent) => {
                    (first_block, stream) = (block_idx, Some(of_parent));
                }
                Begin::Record => recorded = Some(Vec::new()),
            }
        }
        let stream = match stream {
            Some(stream) => stream,
            None => {
                let tokens = pairs.iter().map(|(_, idx)| self.corpus.sequence(*idx));
                context.embed(&tokens.collect::<Vec<_>>())?
            }
        };
        let (candidates, sequence_idxs) = pairs.into_iter().unzip();
        Ok(Passing {
            candidates,
            sequence_idxs,
            stream,
            first_block,
            recorded,
        })
    }

    fn candidates<'a>(&'a self, state: &'a Passing, block_idx: usize) -> &'a [Arc<Candidate>] {
        match block_idx < state.first_block {
            true => &[],
            false => &state.candidates,
        }
    }

    fn run_block(
        &self,
        context: &mut Context,
        state: &mut Passing,
        block_idx: usize,
    ) -> Result<()> {
        if let Some(recorded) = &mut state.recorded
            && block_idx > 0
        {
            recorded.push(state.stream.snapshot()?);
        }
        let candidates: Vec<&Candidate> = state.candidates.iter().map(Arc::as_ref).collect();
        let model = &context.model;
        Ok(model.run_block(block_idx, &mut state.stream, &candidates)?)
    }

    fn finish(&self, context: &mut Context, state: Passing) -> Result<Vec<R>> {
        if let (Some(cache), Some(recorded)) = (&self.cache, state.recorded) {
            cache.insert(&state.candidates[0], state.sequence_idxs[0], recorded);
        }
        let hidden = context.model.finish(&state.stream)?;
        let count = state.sequence_idxs.len() as i64;
        let length = hidden.size()[0] / count;
        let sequences = state.sequence_idxs.iter().zip(0..);
        let read = sequences.map(|(&sequence_idx, place)| {
            let hidden = hidden.f_narrow(0, place * length, length - 1)?;
            (self.read)(context, &hidden, sequence_idx)
        });
        read.collect()
    }
}
