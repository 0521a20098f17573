//! What a level change does to blocks, against candidates with and without it.

use evopress_plugin::{BlockPart, Method};

use super::*;
use crate::search::random_genotypes;

/// A parent's model with some edits made to it.
fn applied(space: &SearchSpace, parent: &Candidate, edits: Vec<BlockEdit>) -> Candidate {
    let mut candidate = parent.clone();
    let layers_of = |block_idx: usize, part: BlockPart| {
        let layers = space.outline().layers.iter().enumerate();
        let of_part = layers.filter(move |(_, layer)| {
            layer.block_idx as usize == block_idx && part.contains(layer)
        });
        of_part.map(|(idx, _)| idx)
    };
    for edit in edits {
        match edit {
            BlockEdit::Replace { layer_idx, weight } => candidate.weights[layer_idx] = weight,
            BlockEdit::Drop { block_idx, part } => {
                candidate.dropped.drop(block_idx, part);
                for idx in layers_of(block_idx, part) {
                    candidate.weights[idx] = None;
                }
            }
            BlockEdit::Restore {
                block_idx,
                part,
                weights,
                dropped_experts,
            } => {
                match part {
                    BlockPart::Attention => candidate.dropped.attention[block_idx] = false,
                    _ => candidate.dropped.mlp[block_idx] = false,
                }
                candidate.dropped.experts[block_idx] = dropped_experts;
                for (idx, weight) in layers_of(block_idx, part).zip(weights) {
                    candidate.weights[idx] = weight;
                }
            }
        }
    }
    candidate
}

#[test]
fn edits_of_a_change_make_the_candidate_that_has_it() {
    let methods: [(&str, &dyn Method); 3] =
        [("drop", &Drops), ("gptq", &BITS), ("sparsegpt", &SPARSE)];
    let mixed = space(3, &methods, &Budget::SizeBytes(9000), None).unwrap();
    let tied = bits(3.0, Some(Grouping::Tied)).unwrap();
    let mixture = mixture(2, 4);
    let methods: [(&str, &dyn Method); 3] =
        [("drop", &Drops), ("experts", &ExpertDrops), ("gptq", &BITS)];
    let budget = Budget::SizeBytes(FIXED + 6000);
    let experts = space_over(&mixture, &methods, &budget, None).unwrap();
    for space in [mixed, tied, experts] {
        for parent in random_genotypes(&space, 1, 20) {
            let edits = BlockEdits::new(&space, &parent);
            for (unit_idx, unit) in space.units().iter().enumerate() {
                for level in 0..unit.levels.len() {
                    let mut changed = parent.clone();
                    changed.0[unit_idx] = level as u16;
                    let found = edits.of_change(unit_idx, level);
                    assert_eq!(
                        applied(&space, edits.parent(), found),
                        space.candidate(&changed),
                        "unit {unit_idx} at level {level} from {parent:?}"
                    );
                }
            }
        }
    }
}
