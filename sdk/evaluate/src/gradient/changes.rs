//! What level changes do in each block.

use evopress_plugin::{BlockPart, SubBlock};
use evopress_search::genotype::{BlockEdit, BlockEdits, Candidate, Genotype, SearchSpace};
use evopress_search::prediction::LevelChange;
use evopress_source::ModelSpec;

/// The parent, and what each level change does to it, by block.
pub(super) struct Changes {
    pub(super) parent: Candidate,
    /// By change: whether it does no more than to give layers other weights.
    pub(super) are_levels: Vec<bool>,
    /// By block: the edits, each with the index of its change; those of a layer are neighbours.
    pub(super) blocks: Vec<Vec<(usize, BlockEdit)>>,
    /// Tokens that are sampled at each token of a sequence.
    pub(super) num_samples: usize,
}

impl Changes {
    /// Of `changes` from `parent`, with so many samples where levels are at stake.
    pub(super) fn new(
        space: &SearchSpace,
        parent: &Genotype,
        changes: &[LevelChange],
        samples_of_levels: usize,
    ) -> Self {
        let edits = BlockEdits::new(space, parent);
        let mut blocks: Vec<Vec<(usize, BlockEdit)>> = Vec::new();
        blocks.resize_with(space.num_blocks(), Vec::new);
        let mut are_levels = Vec::with_capacity(changes.len());
        for (change_idx, change) in changes.iter().enumerate() {
            let of_change = edits.of_change(change.unit_idx, change.level);
            let mut kinds = of_change.iter();
            are_levels.push(kinds.all(|edit| matches!(edit, BlockEdit::Replace { .. })));
            for edit in of_change {
                let block_idx = match &edit {
                    BlockEdit::Replace { layer_idx, .. } => {
                        space.outline().layers[*layer_idx].block_idx as usize
                    }
                    BlockEdit::Drop { block_idx, .. } | BlockEdit::Restore { block_idx, .. } => {
                        *block_idx
                    }
                };
                blocks[block_idx].push((change_idx, edit));
            }
        }
        for edits in &mut blocks {
            // Stable: what a change does in several layers is added up in their order.
            edits.sort_by_key(|(_, edit)| match edit {
                BlockEdit::Replace { layer_idx, .. } => Some(*layer_idx),
                BlockEdit::Drop { .. } | BlockEdit::Restore { .. } => None,
            });
        }
        Self {
            parent: edits.parent().clone(),
            num_samples: match are_levels.contains(&true) {
                true => samples_of_levels,
                false => 1,
            },
            are_levels,
            blocks,
        }
    }

    /// How many level changes there are.
    pub(super) fn len(&self) -> usize {
        self.are_levels.len()
    }

    /// What a pass over one sequence costs, in forward passes of the dense model: the forward pass;
    /// two products with the head in f32; each block once more, and backwards for the loss and each
    /// sample; what the changes do to layers and sub-blocks.
    pub(super) fn forward_passes(&self, spec: &ModelSpec) -> f64 {
        let passes = 3.0 + self.num_samples as f64;
        let head = (spec.vocab_size * spec.hidden_size) as f64;
        let (mut dense, mut spent) = (head, 3.0 * head);
        for (block_idx, block) in spec.blocks.iter().enumerate() {
            let layer = |slot: usize| {
                let layer = &block.layers[slot];
                layer.num_weights() as f64 * block.share_of(layer.expert)
            };
            let sub_block = |it: SubBlock| block.slots_of(it).map(layer).sum::<f64>();
            for it in [SubBlock::Attention, SubBlock::Mlp] {
                dense += sub_block(it);
                if !self.parent.dropped.contains(block_idx, it) {
                    spent += passes * sub_block(it);
                }
            }
            let first_layer = spec.first_layer(block_idx);
            // The MLP once more, for the tokens of one expert where the others do not change.
            let rerouted = match block.experts() {
                Some(experts) if experts.is_renormalized => block.share_of(Some(0)),
                _ => 1.0,
            };
            let rerouted = rerouted * sub_block(SubBlock::Mlp);
            let edits = self.blocks[block_idx].iter().map(|(_, edit)| match edit {
                BlockEdit::Replace { layer_idx, .. } => layer(layer_idx - first_layer),
                BlockEdit::Drop {
                    part: BlockPart::Expert { .. },
                    ..
                }
                | BlockEdit::Restore {
                    part: BlockPart::Expert { .. },
                    ..
                } => rerouted,
                BlockEdit::Drop { .. } => 0.0,
                BlockEdit::Restore { part, .. } => match part {
                    BlockPart::Attention => sub_block(SubBlock::Attention),
                    _ => sub_block(SubBlock::Mlp),
                },
            });
            spent += edits.sum::<f64>();
        }
        spent / dense
    }
}
