//! Experts to drop by what the router makes of them (REAP, Lasby et al. 2025): those go whose
//! output, times the router's probability, is smallest on average over the tokens that go there.

use evopress_plugin::BlockPart;

use super::baseline::Baseline;
use crate::error::Result;
use crate::fitness::Fitness;
use crate::genotype::{ResolvedEdit, SearchSpace};

/// The baseline, where all that the search can do is to drop experts and the fitness knows how much
/// they count.
pub(super) fn baseline(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    minibatch: &[usize],
) -> Result<Option<Baseline>> {
    let experts = (0..space.units().len()).map(|idx| expert(space, idx));
    let Some(experts) = experts.collect::<Option<Vec<(usize, usize)>>>() else {
        return Ok(None);
    };
    let Some(saliency) = fitness.expert_saliency(minibatch)? else {
        return Ok(None);
    };
    let saliency = |unit_idx: usize| {
        let (block_idx, expert_idx) = experts[unit_idx];
        saliency[block_idx][expert_idx]
    };
    let mut genotype = space.max_cost_genotype();
    for group in space.groups() {
        let mut units = group.unit_idxs.clone();
        units.sort_by(|&a, &b| saliency(a).total_cmp(&saliency(b)));
        let mut least_first = units.into_iter();
        while space.cost(&genotype, group) > group.max_cost
            && let Some(unit_idx) = least_first.next()
        {
            genotype.0[unit_idx] = 1;
        }
    }
    let is_sound = space.meets_budget(&genotype);
    Ok(is_sound.then(|| Baseline::new("router", genotype)))
}

/// The block and the number of the expert that a unit keeps or drops; none where it does anything
/// else.
fn expert(space: &SearchSpace, unit_idx: usize) -> Option<(usize, usize)> {
    let is_kept_or_dropped = space.units()[unit_idx].levels.len() == 2;
    match (is_kept_or_dropped, space.edits(unit_idx, 1)) {
        (
            true,
            [
                ResolvedEdit::Drop {
                    block_idx,
                    part: BlockPart::Expert { expert_idx },
                },
            ],
        ) => Some((*block_idx as usize, *expert_idx as usize)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use evopress_plugin::Method;

    use super::*;
    use crate::fixtures::{ExpertDrops, measure, mixture, space_over};
    use crate::genotype::Genotype;

    /// Experts that count the more the higher their number, but for those of odd blocks.
    struct Saliency;

    impl Fitness for Saliency {
        fn num_sequences(&self) -> usize {
            1
        }

        fn losses(&mut self, _: &[Genotype], _: &[usize]) -> Result<Vec<Vec<f64>>> {
            Ok(Vec::new())
        }

        fn expert_saliency(&mut self, _: &[usize]) -> Result<Option<Vec<Vec<f64>>>> {
            let block = |idx: usize| {
                let sign = [1.0, -1.0][idx % 2];
                (0..4).map(|expert| sign * f64::from(expert)).collect()
            };
            Ok(Some((0..2).map(block).collect()))
        }
    }

    #[test]
    fn experts_of_least_saliency_go_in_each_block() {
        let mixture = mixture(2, 4);
        let methods: [(&str, &dyn Method); 1] = [("drop", &ExpertDrops)];
        let space = space_over(&mixture, &methods, &measure("drop", 0.5), None).unwrap();
        let found = baseline(&space, &mut Saliency, &[0]).unwrap().unwrap();
        assert_eq!(found.name, "router");
        assert_eq!(space.dropped(&found.genotype).experts, [[0, 1], [2, 3]]);
    }
}
