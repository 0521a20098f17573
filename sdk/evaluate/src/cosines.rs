//! How much the dense model's blocks turn its residual stream, for the baselines that drop whole
//! blocks.

use std::sync::Arc;

use evopress_model::{Context, Engine, Items, Stream, Walk};
use evopress_search::fitness::BlockCosines;
use evopress_search::genotype::Candidate;
use evopress_source::Corpus;
use tch::{Kind, Tensor};

use crate::error::{EvaluateError, Result};
use crate::passes::stream_bytes;

/// Mean cosines over the tokens of a minibatch, with windows of `num_dropped` blocks.
pub(crate) fn measure(
    engine: &Engine,
    corpus: &Arc<Corpus>,
    minibatch: &[usize],
    num_dropped: usize,
) -> Result<BlockCosines> {
    let candidates = vec![Arc::new(engine.dense().clone())];
    let walk = Boundaries {
        corpus: Arc::clone(corpus),
        candidates: candidates.clone(),
        num_dropped,
    };
    let of_stream = stream_bytes(engine, corpus.sequence_length());
    let items = Items {
        items: minibatch.to_vec(),
        candidates,
        state_bytes: (engine.spec().num_blocks() as u64 + 1) * of_stream,
        at_once: usize::MAX,
    };
    let measured = engine.walk(walk, items, |_| ())?;
    let (single, window): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
    Ok(BlockCosines {
        single: mean(&single),
        window: mean(&window),
    })
}

/// Sequences of the dense model, with their streams before each block so far.
struct Boundaries {
    corpus: Arc<Corpus>,
    /// The dense model.
    candidates: Vec<Arc<Candidate>>,
    num_dropped: usize,
}

impl Walk for Boundaries {
    type Item = usize;
    type State = (Stream, Vec<Tensor>);
    /// Mean cosines of single blocks and of windows.
    type Output = (Vec<f64>, Vec<f64>);
    type Error = EvaluateError;

    fn begin(&self, context: &mut Context, sequence_idx: usize) -> Result<Self::State> {
        let stream = context.embed(&[self.corpus.sequence(sequence_idx)])?;
        Ok((stream, Vec::new()))
    }

    fn candidates<'a>(&'a self, _: &'a Self::State, _: usize) -> &'a [Arc<Candidate>] {
        &self.candidates
    }

    fn run_block(
        &self,
        context: &mut Context,
        (stream, before): &mut Self::State,
        block_idx: usize,
    ) -> Result<()> {
        before.push(stream.snapshot()?);
        let model = &context.model;
        Ok(model.run_block(block_idx, stream, &[self.candidates[0].as_ref()])?)
    }

    fn finish(&self, _: &mut Context, (stream, mut streams): Self::State) -> Result<Self::Output> {
        let num_blocks = streams.len();
        streams.push(stream.snapshot()?);
        let cosine = |i: usize, j: usize| -> Result<f64> {
            let cosines = Tensor::f_cosine_similarity(&streams[i], &streams[j], -1, 1e-8)?;
            Ok(cosines.f_mean(Kind::Double)?.double_value(&[]))
        };
        let single = (0..num_blocks).map(|i| cosine(i, i + 1));
        let window = (0..=num_blocks - self.num_dropped).map(|i| cosine(i, i + self.num_dropped));
        Ok((
            single.collect::<Result<_>>()?,
            window.collect::<Result<_>>()?,
        ))
    }
}

/// Entry by entry over the sequences of a minibatch.
fn mean(sequences: &[Vec<f64>]) -> Vec<f64> {
    let num_entries = sequences.first().map_or(0, Vec::len);
    let sum = |i: usize| sequences.iter().map(|sequence| sequence[i]).sum::<f64>();
    (0..num_entries)
        .map(|i| sum(i) / sequences.len() as f64)
        .collect()
}
