//! Blocks to drop by how little they turn the residual stream.
//!
//! - Block influence (ShortGPT, Men et al. 2024): `BI_i = 1 − mean_t cos(x_i,t , x_{i+1},t)` of the residual stream before
//!   and after block i; the blocks of least influence go.
//! - Cosine window (Gromov et al. 2024): the `k` consecutive blocks whose removal turns the stream least,
//!   `argmax_i mean_t cos(x_i,t , x_{i+k},t)`.

use std::collections::BTreeSet;
use std::sync::Arc;

use tch::Kind;

use super::Baseline;
use crate::error::Result;
use crate::evaluator::{CalibratedFitness, Context};
use crate::genotype::{Genotype, SearchSpace};

/// Both baselines, where all that the search can do is to drop and the budget amounts to whole blocks.
pub(super) fn baselines(
    fitness: &CalibratedFitness<'_>,
    space: &SearchSpace,
    minibatch: &[usize],
) -> Result<Vec<Baseline>> {
    let Some(num_dropped) = num_whole_blocks(space) else {
        return Ok(Vec::new());
    };
    let cosines = Cosines::measure(fitness, minibatch, num_dropped)?;
    let by_influence = cosines.least_influential(num_dropped).into_iter().collect();
    let start = cosines.best_window();
    let window = (start..start + num_dropped).collect();
    Ok(vec![
        Baseline::new("block-influence", drop_blocks(space, &by_influence)),
        Baseline::new("cosine-window", drop_blocks(space, &window)),
    ])
}

/// How many whole blocks the budget amounts to, where every unit is kept or dropped.
fn num_whole_blocks(space: &SearchSpace) -> Option<usize> {
    let only_drops = space
        .units()
        .iter()
        .enumerate()
        .all(|(idx, unit)| unit.levels.len() == 2 && space.only_drops(idx));
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
        let dense = fitness.engine().dense().clone();
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
