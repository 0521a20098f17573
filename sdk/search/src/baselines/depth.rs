//! Blocks to drop by how little they turn the residual stream.
//!
//! - Block influence (ShortGPT, Men et al. 2024): `BI_i = 1 − mean_t cos(x_i,t , x_{i+1},t)` of the
//!   residual stream before and after block i; the blocks of least influence go.
//! - Cosine window (Gromov et al. 2024): the `k` consecutive blocks whose removal turns the stream
//!   least, `argmax_i mean_t cos(x_i,t , x_{i+k},t)`.

use std::collections::BTreeSet;

use super::baseline::Baseline;
use crate::error::Result;
use crate::fitness::{BlockCosines, Fitness};
use crate::genotype::{Genotype, SearchSpace};

/// Both baselines, where all that the search can do is to drop, the budget amounts to whole blocks,
/// and the fitness knows cosines.
pub(super) fn baselines(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    minibatch: &[usize],
) -> Result<Vec<Baseline>> {
    let Some(num_dropped) = num_whole_blocks(space) else {
        return Ok(Vec::new());
    };
    let Some(cosines) = fitness.block_cosines(minibatch, num_dropped)? else {
        return Ok(Vec::new());
    };
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

impl BlockCosines {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_turn_the_stream_least_go_first() {
        let cosines = BlockCosines {
            single: vec![0.2, 0.99, 0.5, 0.98],
            window: vec![0.1, 0.7, 0.3],
        };
        assert_eq!(cosines.least_influential(2), [1, 3]);
        assert_eq!(cosines.best_window(), 1);
    }
}
