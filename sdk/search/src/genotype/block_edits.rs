//! What single level changes do to the blocks of a parent, said by the change's own edits rather
//! than by a candidate for each.

use evopress_plugin::SubBlock;

use super::candidate::{Candidate, Genotype, WeightId};
use super::space::{ResolvedEdit, SearchSpace};

/// What a level change does to one block of its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockEdit {
    /// A layer that runs gets another weight.
    Replace {
        /// The layer, an index into the outline's layers.
        layer_idx: usize,
        /// The weight; none: the dense one.
        weight: Option<WeightId>,
    },
    /// A sub-block that runs is left out.
    Drop {
        /// The block.
        block_idx: usize,
        /// Its attention or its MLP.
        sub_block: SubBlock,
    },
    /// A sub-block that was left out runs.
    Restore {
        /// The block.
        block_idx: usize,
        /// Its attention or its MLP.
        sub_block: SubBlock,
        /// The weight of each of its layers, in the outline's order; none: the dense one.
        weights: Vec<Option<WeightId>>,
    },
}

/// Says what level changes do to a parent. Memory is linear in layers.
pub struct BlockEdits<'a> {
    space: &'a SearchSpace,
    parent: &'a Genotype,
    candidate: Candidate,
    /// By layer: the weight that the parent's levels choose, whether or not its sub-block is
    /// dropped.
    chosen: Vec<Option<WeightId>>,
    /// By block, attention and MLP: how many units drop it.
    num_drops: Vec<[u32; 2]>,
    /// By block, attention and MLP: the layers of the outline.
    layers: Vec<[Vec<usize>; 2]>,
}

impl<'a> BlockEdits<'a> {
    /// For level changes of `parent`.
    pub fn new(space: &'a SearchSpace, parent: &'a Genotype) -> Self {
        let outline = space.outline();
        let mut chosen = vec![None; outline.layers.len()];
        let mut num_drops = vec![[0; 2]; space.num_blocks()];
        for edit in space.chosen(parent) {
            match edit {
                ResolvedEdit::Replace(id) => chosen[id.layer_idx as usize] = Some(id),
                ResolvedEdit::Drop {
                    block_idx,
                    sub_block,
                } => num_drops[block_idx as usize][half(sub_block)] += 1,
            }
        }
        let mut layers = vec![[Vec::new(), Vec::new()]; space.num_blocks()];
        for (layer_idx, layer) in outline.layers.iter().enumerate() {
            layers[layer.block_idx as usize][half(layer.sub_block)].push(layer_idx);
        }
        Self {
            space,
            parent,
            candidate: space.candidate(parent),
            chosen,
            num_drops,
            layers,
        }
    }

    /// The parent as a model.
    pub fn parent(&self) -> &Candidate {
        &self.candidate
    }

    /// What another level of a unit does, block by block, attention before MLP. Empty where other
    /// units drop all that it changes.
    pub fn of_change(&self, unit_idx: usize, level: usize) -> Vec<BlockEdit> {
        let before = self.space.edits(unit_idx, self.parent.level(unit_idx));
        let after = self.space.edits(unit_idx, level);
        let mut places: Vec<(usize, SubBlock)> = before
            .iter()
            .chain(after)
            .map(|edit| self.place(edit))
            .collect();
        places.sort_unstable_by_key(|&(block_idx, sub_block)| (block_idx, half(sub_block)));
        places.dedup();
        let mut found = Vec::new();
        for place in places {
            self.of_sub_block(place, before, after, &mut found);
        }
        found
    }

    fn of_sub_block(
        &self,
        place: (usize, SubBlock),
        before: &[ResolvedEdit],
        after: &[ResolvedEdit],
        found: &mut Vec<BlockEdit>,
    ) {
        let (block_idx, sub_block) = place;
        let num_drops = self.num_drops[block_idx][half(sub_block)];
        let was_dropped = num_drops > 0;
        let is_dropped = num_drops - count_drops(before, place) + count_drops(after, place) > 0;
        let weight_after = |layer_idx: usize| {
            let replaced = |edits: &[ResolvedEdit]| {
                edits.iter().find_map(|edit| match edit {
                    ResolvedEdit::Replace(id) if id.layer_idx as usize == layer_idx => Some(*id),
                    _ => None,
                })
            };
            match replaced(before) {
                Some(_) => replaced(after),
                None => replaced(after).or(self.chosen[layer_idx]),
            }
        };
        let layers = &self.layers[block_idx][half(sub_block)];
        match (was_dropped, is_dropped) {
            (true, true) => {}
            (false, true) => found.push(BlockEdit::Drop {
                block_idx,
                sub_block,
            }),
            (true, false) => found.push(BlockEdit::Restore {
                block_idx,
                sub_block,
                weights: layers.iter().map(|&idx| weight_after(idx)).collect(),
            }),
            (false, false) => {
                let mut replaced: Vec<usize> = before
                    .iter()
                    .chain(after)
                    .filter(|edit| self.place(edit) == place)
                    .filter_map(|edit| match edit {
                        ResolvedEdit::Replace(id) => Some(id.layer_idx as usize),
                        ResolvedEdit::Drop { .. } => None,
                    })
                    .collect();
                replaced.sort_unstable();
                replaced.dedup();
                replaced.retain(|&idx| weight_after(idx) != self.chosen[idx]);
                found.extend(replaced.into_iter().map(|layer_idx| BlockEdit::Replace {
                    layer_idx,
                    weight: weight_after(layer_idx),
                }));
            }
        }
    }

    fn place(&self, edit: &ResolvedEdit) -> (usize, SubBlock) {
        match edit {
            ResolvedEdit::Drop {
                block_idx,
                sub_block,
            } => (*block_idx as usize, *sub_block),
            ResolvedEdit::Replace(id) => {
                let layer = &self.space.outline().layers[id.layer_idx as usize];
                (layer.block_idx as usize, layer.sub_block)
            }
        }
    }
}

fn half(sub_block: SubBlock) -> usize {
    match sub_block {
        SubBlock::Attention => 0,
        SubBlock::Mlp => 1,
    }
}

/// How often a level drops a sub-block.
fn count_drops(edits: &[ResolvedEdit], place: (usize, SubBlock)) -> u32 {
    let drops = |edit: &ResolvedEdit| match edit {
        ResolvedEdit::Drop {
            block_idx,
            sub_block,
        } => (*block_idx as usize, *sub_block) == place,
        ResolvedEdit::Replace(_) => false,
    };
    edits.iter().filter(|edit| drops(edit)).count() as u32
}
