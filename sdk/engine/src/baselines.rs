//! One-shot baselines for dropping blocks, at the same budget as the search.
//!
//! - Block influence (ShortGPT, Men et al. 2024): `BI_i = 1 − mean_t cos(x_i,t , x_{i+1},t)` of the residual stream before
//!   and after block i; the blocks of least influence go.
//! - Cosine window (Gromov et al. 2024): the `k` consecutive blocks whose removal turns the stream least,
//!   `argmax_i mean_t cos(x_i,t , x_{i+k},t)`.
//! - Best of N random genotypes by the run's own fitness.

use std::collections::BTreeSet;
use std::sync::Arc;

use tch::Kind;

use crate::error::Result;
use crate::evaluator::{CalibratedFitness, Context};
use crate::genotype::{Genotype, SearchSpace};
use crate::search::{self, Fitness, Purpose};

/// A genotype that was not searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// `block-influence`, `cosine-window` or `best-of-random`.
    pub name: String,
    /// What it chose.
    pub genotype: Genotype,
}

/// How much text baselines see, and how many random genotypes compete.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Calibration sequences for the cosines and for the random genotypes.
    pub num_sequences: usize,
    /// N of 'best of N random'; none if 0.
    pub num_random: usize,
    /// Seed of the random genotypes and of the choice of sequences.
    pub seed: u64,
}

/// Every baseline that the search space allows.
///
/// # Errors
/// When a forward pass fails or the run was interrupted.
pub fn all(fitness: &mut CalibratedFitness<'_>, settings: Settings) -> Result<Vec<Baseline>> {
    let minibatch = search::draw(
        fitness,
        settings.seed,
        0,
        Purpose::BaselineMinibatch,
        settings.num_sequences,
    );
    let space = fitness.space().clone();
    let mut baselines = Vec::new();
    if let Some(num_dropped) = num_whole_blocks(&space) {
        let cosines = Cosines::measure(fitness, &minibatch, num_dropped)?;
        let by_influence: BTreeSet<usize> =
            cosines.least_influential(num_dropped).into_iter().collect();
        baselines.push(Baseline {
            name: "block-influence".into(),
            genotype: drop_blocks(&space, &by_influence),
        });
        let start = cosines.best_window();
        let window = (start..start + num_dropped).collect();
        baselines.push(Baseline {
            name: "cosine-window".into(),
            genotype: drop_blocks(&space, &window),
        });
    }
    if settings.num_random > 0 {
        let genotypes = search::random_genotypes(&space, settings.seed, settings.num_random);
        let measured = fitness.evaluate(&genotypes, &minibatch)?;
        let best = genotypes
            .into_iter()
            .zip(measured)
            .min_by(|a, b| a.1.total_cmp(&b.1));
        baselines.extend(best.map(|(genotype, _)| Baseline {
            name: "best-of-random".into(),
            genotype,
        }));
    }
    Ok(baselines)
}

/// How many whole blocks the budget amounts to, where every unit is kept or dropped.
fn num_whole_blocks(space: &SearchSpace) -> Option<usize> {
    let only_drops = space
        .units()
        .iter()
        .all(|unit| unit.levels.len() == 2 && unit.levels[0].edits.is_empty());
    if !only_drops {
        return None;
    }
    (1..)
        .take_while(|&count| count < space.num_blocks())
        .find(|&count| space.meets_budget(&drop_blocks(space, &(0..count).collect())))
}

fn drop_blocks(space: &SearchSpace, blocks: &BTreeSet<usize>) -> Genotype {
    Genotype(
        space
            .units()
            .iter()
            .map(|unit| u16::from(blocks.contains(&(unit.block_idx as usize))))
            .collect(),
    )
}

/// Mean cosines of the residual stream between block boundaries.
struct Cosines {
    /// Over one block, by block.
    single: Vec<f64>,
    /// Over `num_dropped` blocks, by first block.
    window: Vec<f64>,
}

impl Cosines {
    fn measure(
        fitness: &CalibratedFitness<'_>,
        minibatch: &[usize],
        num_dropped: usize,
    ) -> Result<Self> {
        let corpus = Arc::clone(fitness.corpus());
        let num_blocks = fitness.engine().num_blocks();
        let work = move |context: &mut Context, idx: usize| -> Result<(Vec<f64>, Vec<f64>)> {
            let streams = boundaries(context, corpus.sequence(idx))?;
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
        let measured = fitness
            .engine()
            .pool()
            .map(minibatch.to_vec(), work, |_| ())?;
        let (single, window): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
        Ok(Self {
            single: mean(&single),
            window: mean(&window),
        })
    }

    /// The blocks that turn the stream least.
    fn least_influential(&self, count: usize) -> Vec<usize> {
        let mut blocks: Vec<usize> = (0..self.single.len()).collect();
        blocks.sort_by(|&a, &b| self.single[b].total_cmp(&self.single[a]));
        blocks.truncate(count);
        blocks
    }

    fn best_window(&self) -> usize {
        (0..self.window.len())
            .max_by(|&a, &b| self.window[a].total_cmp(&self.window[b]))
            .unwrap_or(0)
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

/// The residual stream before the first block and after each.
fn boundaries(context: &Context, tokens: &[i64]) -> Result<Vec<tch::Tensor>> {
    let ids = tch::Tensor::f_from_slice(tokens)?
        .f_view([1, -1])?
        .f_to_device(context.model.device())?;
    let num_blocks = context.model.config().num_blocks;
    let dense = context.model.dense();
    let mut stream = context.model.embed(&ids)?;
    let mut streams = vec![stream.snapshot()?];
    for block_idx in 0..num_blocks {
        context.model.run_block(block_idx, &mut stream, &dense)?;
        streams.push(stream.snapshot()?);
    }
    Ok(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_turn_the_stream_least_go_first() {
        let cosines = Cosines {
            single: vec![0.2, 0.99, 0.5, 0.98],
            window: vec![0.1, 0.7, 0.3],
        };
        assert_eq!(cosines.least_influential(2), [1, 3]);
        assert_eq!(cosines.best_window(), 1);
    }
}
