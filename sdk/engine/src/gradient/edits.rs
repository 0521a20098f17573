//! What level changes do to each block.

use evopress_plugin::SubBlock;
use evopress_search::prediction::LevelChange;

use crate::genotype::{BlockEdit, BlockEdits, Candidate, Genotype, SearchSpace, WeightId};
use crate::source::{LAYERS_PER_BLOCK, ModelConfig};

/// Layers of an attention; those of the MLP come after them.
pub(super) const ATTENTION_LAYERS: usize = 4;

/// The parent, and what each level change does to it, by block.
pub(super) struct Edits {
    pub(super) parent: Candidate,
    /// By change: whether it does no more than to give layers other weights.
    pub(super) are_levels: Vec<bool>,
    pub(super) blocks: Vec<Vec<Edit>>,
    /// Tokens that are sampled at each token of a sequence.
    pub(super) num_samples: usize,
}

/// One thing that a level change does to a block.
pub(super) struct Edit {
    pub(super) change_idx: usize,
    pub(super) kind: EditKind,
}

pub(super) enum EditKind {
    /// The layer at a place of the block gets another weight.
    Layer {
        slot: usize,
        level: Option<WeightId>,
    },
    /// A sub-block that runs is left out.
    Drop(SubBlock),
    /// One that is left out runs, with these weights of the block's seven layers.
    Restore(SubBlock, Vec<Option<WeightId>>),
}

impl Edits {
    /// Of level changes of `parent`, with so many samples where levels are at stake.
    pub(super) fn new(
        space: &SearchSpace,
        parent: &Genotype,
        changes: &[LevelChange],
        samples_of_levels: usize,
    ) -> Self {
        let of_changes = BlockEdits::new(space, parent);
        let mut blocks: Vec<Vec<Edit>> = Vec::new();
        blocks.resize_with(space.num_blocks(), Vec::new);
        let mut are_levels = vec![true; changes.len()];
        for (change_idx, change) in changes.iter().enumerate() {
            for edit in of_changes.of_change(change.unit_idx, change.level) {
                let (block_idx, kind) = placed(edit);
                are_levels[change_idx] &= matches!(kind, EditKind::Layer { .. });
                blocks[block_idx].push(Edit { change_idx, kind });
            }
        }
        Self {
            parent: of_changes.parent().clone(),
            num_samples: match are_levels.contains(&true) {
                true => samples_of_levels,
                false => 1,
            },
            are_levels,
            blocks,
        }
    }

    pub(super) fn num_changes(&self) -> usize {
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
                    EditKind::Drop(_) => 0.0,
                    EditKind::Restore(sub_block, _) => weights(*sub_block),
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

/// An edit by its block and the places of layers within it.
fn placed(edit: BlockEdit) -> (usize, EditKind) {
    match edit {
        BlockEdit::Replace { layer_idx, weight } => {
            let kind = EditKind::Layer {
                slot: layer_idx % LAYERS_PER_BLOCK,
                level: weight,
            };
            (layer_idx / LAYERS_PER_BLOCK, kind)
        }
        BlockEdit::Drop {
            block_idx,
            sub_block,
        } => (block_idx, EditKind::Drop(sub_block)),
        BlockEdit::Restore {
            block_idx,
            sub_block,
            weights,
        } => {
            let mut of_block = vec![None; LAYERS_PER_BLOCK];
            for (slot, weight) in slots(sub_block).zip(weights) {
                of_block[slot] = weight;
            }
            (block_idx, EditKind::Restore(sub_block, of_block))
        }
    }
}
