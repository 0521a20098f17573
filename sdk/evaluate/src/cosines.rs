//! How much the dense model's blocks turn its residual stream, for the baselines that drop whole
//! blocks.

use std::sync::Arc;

use evopress_model::{Context, Engine};
use evopress_search::fitness::BlockCosines;
use evopress_source::Corpus;
use tch::Kind;

use crate::error::Result;

/// Mean cosines over the tokens of a minibatch, with windows of `num_dropped` blocks.
pub(crate) fn measure(
    engine: &Engine,
    corpus: &Arc<Corpus>,
    minibatch: &[usize],
    num_dropped: usize,
) -> Result<BlockCosines> {
    let (corpus, dense) = (Arc::clone(corpus), engine.dense().clone());
    let num_blocks = engine.spec().num_blocks();
    let work = move |context: &mut Context, idx: usize| -> Result<(Vec<f64>, Vec<f64>)> {
        let streams = context.boundaries(&[corpus.sequence(idx)], &dense)?;
        let cosine = |i: usize, j: usize| -> Result<f64> {
            let cosines = tch::Tensor::f_cosine_similarity(&streams[i], &streams[j], -1, 1e-8)?;
            Ok(cosines.f_mean(Kind::Double)?.double_value(&[]))
        };
        Ok((
            (0..num_blocks)
                .map(|i| cosine(i, i + 1))
                .collect::<Result<_>>()?,
            (0..=num_blocks - num_dropped)
                .map(|i| cosine(i, i + num_dropped))
                .collect::<Result<_>>()?,
        ))
    };
    let measured = engine.pool().map(minibatch.to_vec(), work, |_| ())?;
    let (single, window): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
    Ok(BlockCosines {
        single: mean(&single),
        window: mean(&window),
    })
}

/// Entry by entry over the sequences of a minibatch.
fn mean(sequences: &[Vec<f64>]) -> Vec<f64> {
    let num_entries = sequences.first().map_or(0, Vec::len);
    let sum = |i: usize| sequences.iter().map(|sequence| sequence[i]).sum::<f64>();
    (0..num_entries)
        .map(|i| sum(i) / sequences.len() as f64)
        .collect()
}
