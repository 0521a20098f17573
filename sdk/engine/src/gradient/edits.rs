//! What moves change in each block.

use evopress_plugin::SubBlock;
use evopress_search::prediction::LevelChange;

use crate::genotype::{Candidate, Genotype, SearchSpace, WeightId};
use crate::source::{LAYERS_PER_BLOCK, ModelConfig};

/// Layers of an attention; those of the MLP come after them.
pub(super) const ATTENTION_LAYERS: usize = 4;

/// The parent, and what each move changes of it, by block.
pub(super) struct Edits {
    pub(super) parent: Candidate,
    /// By move: whether it does no more than to give layers other weights.
    pub(super) are_levels: Vec<bool>,
    pub(super) blocks: Vec<Vec<Edit>>,
    /// Tokens that are sampled at each token of a sequence.
    pub(super) num_samples: usize,
}

/// One thing that a move changes in a block.
pub(super) struct Edit {
    pub(super) move_idx: usize,
    pub(super) kind: EditKind,
}

pub(super) enum EditKind {
    /// The layer at a place of the block gets another weight.
    Layer {
        slot: usize,
        level: Option<WeightId>,
    },
    /// A sub-block that runs is left out.
    Take(SubBlock),
    /// One that is left out runs, with these weights of the block's seven layers.
    Give(SubBlock, Vec<Option<WeightId>>),
}

impl Edits {
    /// Of `moves` from `parent`, with so many samples where levels are at stake.
    pub(super) fn new(
        space: &SearchSpace,
        parent: &Genotype,
        moves: &[LevelChange],
        samples_of_levels: usize,
    ) -> Self {
        let candidate = space.candidate(parent);
        let mut blocks: Vec<Vec<Edit>> = Vec::new();
        blocks.resize_with(space.num_blocks(), Vec::new);
        let mut are_levels = vec![true; moves.len()];
        for (move_idx, step) in moves.iter().enumerate() {
            let mut moved = parent.clone();
            moved.0[step.unit_idx] = step.level as u16;
            let moved = space.candidate(&moved);
            for (block_idx, edits) in blocks.iter_mut().enumerate() {
                let changes = changes(&candidate, &moved, block_idx);
                let mut kinds = changes.iter();
                are_levels[move_idx] &= kinds.all(|kind| matches!(kind, EditKind::Layer { .. }));
                edits.extend(changes.into_iter().map(|kind| Edit { move_idx, kind }));
            }
        }
        Self {
            parent: candidate,
            num_samples: match are_levels.contains(&true) {
                true => samples_of_levels,
                false => 1,
            },
            are_levels,
            blocks,
        }
    }

    pub(super) fn num_moves(&self) -> usize {
        self.are_levels.len()
    }

    /// What a pass over one sequence costs, in forward passes of the dense model: the forward pass; two products with the head in f32;
    /// each block once more, and backwards for the loss and each sample; the layers' and sub-blocks' changes.
    pub(super) fn forward_passes(&self, config: &ModelConfig) -> f64 {
        let passes = 3.0 + self.num_samples as f64;
        let (hidden, inner) = (config.hidden_size as f64, config.intermediate_size as f64);
        let (q, kv) = (
            (config.num_heads * config.head_dim) as f64,
            (config.num_kv_heads * config.head_dim) as f64,
        );
        let layer = |slot: usize| match slot {
            0 | 3 => hidden * q,
            1 | 2 => hidden * kv,
            _ => hidden * inner,
        };
        let weights = |sub_block: SubBlock| slots(sub_block).map(layer).sum::<f64>();
        let head = config.vocab_size as f64 * hidden;
        let (mut dense, mut spent) = (head, 3.0 * head);
        for (block_idx, edits) in self.blocks.iter().enumerate() {
            for sub_block in [SubBlock::Attention, SubBlock::Mlp] {
                dense += weights(sub_block);
                if !self.parent.dropped.contains(block_idx, sub_block) {
                    spent += passes * weights(sub_block);
                }
            }
            spent += edits
                .iter()
                .map(|edit| match &edit.kind {
                    EditKind::Layer { slot, .. } => layer(*slot),
                    EditKind::Take(_) => 0.0,
                    EditKind::Give(sub_block, _) => weights(*sub_block),
                })
                .sum::<f64>();
        }
        spent / dense
    }
}

/// Places of a sub-block's layers within the block.
pub(super) fn slots(sub_block: SubBlock) -> std::ops::Range<usize> {
    match sub_block {
        SubBlock::Attention => 0..ATTENTION_LAYERS,
        SubBlock::Mlp => ATTENTION_LAYERS..LAYERS_PER_BLOCK,
    }
}

fn changes(parent: &Candidate, moved: &Candidate, block_idx: usize) -> Vec<EditKind> {
    let layers = block_idx * LAYERS_PER_BLOCK..(block_idx + 1) * LAYERS_PER_BLOCK;
    let (before, after) = (&parent.weights[layers.clone()], &moved.weights[layers]);
    let mut changes = Vec::new();
    for sub_block in [SubBlock::Attention, SubBlock::Mlp] {
        let was_dropped = parent.dropped.contains(block_idx, sub_block);
        let is_dropped = moved.dropped.contains(block_idx, sub_block);
        match (was_dropped, is_dropped) {
            (true, true) => {}
            (false, true) => changes.push(EditKind::Take(sub_block)),
            (true, false) => changes.push(EditKind::Give(sub_block, after.to_vec())),
            (false, false) => {
                let changed = slots(sub_block).filter(|&slot| before[slot] != after[slot]);
                changes.extend(changed.map(|slot| EditKind::Layer {
                    slot,
                    level: after[slot],
                }));
            }
        }
    }
    changes
}
