//! What single level changes do to the blocks of a parent, said by the change's own edits rather
//! than by a candidate for each.

use std::collections::HashMap;

use evopress_plugin::{BlockPart, SubBlock};

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
    /// A part that runs is left out.
    Drop {
        /// The block.
        block_idx: usize,
        /// Its attention, its MLP or an expert.
        part: BlockPart,
    },
    /// A part that was left out runs.
    Restore {
        /// The block.
        block_idx: usize,
        /// Its attention, its MLP or an expert.
        part: BlockPart,
        /// The weight of each of the part's layers, in the outline's order; none: the dense one.
        weights: Vec<Option<WeightId>>,
        /// Experts of the block that stay dropped, by rising number.
        dropped_experts: Vec<u32>,
    },
}

impl BlockEdit {
    /// The block of a part that is dropped or restored, and the part.
    pub fn part(&self) -> Option<(usize, BlockPart)> {
        match self {
            Self::Replace { .. } => None,
            Self::Drop { block_idx, part }
            | Self::Restore {
                block_idx, part, ..
            } => Some((*block_idx, *part)),
        }
    }
}

/// Says what level changes do to a parent. Memory is linear in layers.
pub struct BlockEdits<'a> {
    space: &'a SearchSpace,
    parent: &'a Genotype,
    candidate: Candidate,
    /// By layer: the weight that the parent's levels choose, whether or not the layer is dropped.
    chosen: Vec<Option<WeightId>>,
    /// By block and part: how many units drop it.
    num_drops: HashMap<(u32, BlockPart), u32>,
    /// By block, attention and MLP: the layers of the outline.
    layers: Vec<[Vec<usize>; 2]>,
}

/// A level change: what the unit does at its old level, and at its new one.
#[derive(Clone, Copy)]
struct Switch<'a> {
    before: &'a [ResolvedEdit],
    after: &'a [ResolvedEdit],
}

/// What becomes of a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Runs,
    IsDropped,
    IsRestored,
    StaysDropped,
}

impl<'a> BlockEdits<'a> {
    /// For level changes of `parent`.
    pub fn new(space: &'a SearchSpace, parent: &'a Genotype) -> Self {
        let outline = space.outline();
        let mut chosen = vec![None; outline.layers.len()];
        let mut num_drops = HashMap::new();
        for edit in space.chosen(parent) {
            match edit {
                ResolvedEdit::Replace(id) => chosen[id.layer_idx as usize] = Some(id),
                ResolvedEdit::Drop { block_idx, part } => {
                    *num_drops.entry((block_idx, part)).or_default() += 1;
                }
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
        let switch = Switch {
            before: self.space.edits(unit_idx, self.parent.level(unit_idx)),
            after: self.space.edits(unit_idx, level),
        };
        let mut places: Vec<(u32, SubBlock)> =
            switch.edits().map(|edit| self.place(edit)).collect();
        places.sort_unstable_by_key(|&(block_idx, sub_block)| (block_idx, half(sub_block)));
        places.dedup();
        let mut found = Vec::new();
        for place in places {
            self.of_sub_block(place, switch, &mut found);
        }
        found
    }

    fn of_sub_block(&self, place: (u32, SubBlock), switch: Switch<'_>, found: &mut Vec<BlockEdit>) {
        let (block_idx, sub_block) = place;
        let whole = BlockPart::from(sub_block);
        if self.add_part(block_idx, whole, switch, found) != Fate::Runs {
            return;
        }
        let mut experts: Vec<u32> = switch.experts(place).collect();
        experts.sort_unstable();
        experts.dedup();
        for expert_idx in experts {
            let part = BlockPart::Expert { expert_idx };
            self.add_part(block_idx, part, switch, found);
        }
        let of_place = switch.edits().filter(|edit| self.place(edit) == place);
        let mut replaced: Vec<usize> = of_place
            .filter_map(|edit| match edit {
                ResolvedEdit::Replace(id) => Some(id.layer_idx as usize),
                ResolvedEdit::Drop { .. } => None,
            })
            .collect();
        replaced.sort_unstable();
        replaced.dedup();
        replaced.retain(|&layer_idx| {
            let expert = self.space.outline().layers[layer_idx].expert_idx;
            let part = expert.map(|expert_idx| BlockPart::Expert { expert_idx });
            part.is_none_or(|part| self.fate(block_idx, part, switch) == Fate::Runs)
                && self.weight_after(layer_idx, switch) != self.chosen[layer_idx]
        });
        found.extend(replaced.into_iter().map(|layer_idx| BlockEdit::Replace {
            layer_idx,
            weight: self.weight_after(layer_idx, switch),
        }));
    }

    /// Adds that a part is dropped or restored, where it is.
    fn add_part(
        &self,
        block_idx: u32,
        part: BlockPart,
        switch: Switch<'_>,
        found: &mut Vec<BlockEdit>,
    ) -> Fate {
        let fate = self.fate(block_idx, part, switch);
        let block = block_idx as usize;
        match fate {
            Fate::IsDropped => found.push(BlockEdit::Drop {
                block_idx: block,
                part,
            }),
            Fate::IsRestored => {
                let dropped_experts = self.dropped_experts_after(block_idx, switch);
                let outline = &self.space.outline().layers;
                let weight_after = |&idx: &usize| match outline[idx].expert_idx {
                    Some(expert) if dropped_experts.binary_search(&expert).is_ok() => None,
                    _ => self.weight_after(idx, switch),
                };
                let layers = self.layers[block].iter().flatten();
                let of_part = layers.filter(|&&idx| part.contains(&outline[idx]));
                found.push(BlockEdit::Restore {
                    block_idx: block,
                    part,
                    weights: of_part.map(weight_after).collect(),
                    dropped_experts,
                });
            }
            Fate::Runs | Fate::StaysDropped => {}
        }
        fate
    }

    fn fate(&self, block_idx: u32, part: BlockPart, switch: Switch<'_>) -> Fate {
        let place = (block_idx, part);
        let before = self.num_drops.get(&place).copied().unwrap_or(0);
        let after = before - count_drops(switch.before, place) + count_drops(switch.after, place);
        match (before > 0, after > 0) {
            (false, false) => Fate::Runs,
            (false, true) => Fate::IsDropped,
            (true, false) => Fate::IsRestored,
            (true, true) => Fate::StaysDropped,
        }
    }

    fn dropped_experts_after(&self, block_idx: u32, switch: Switch<'_>) -> Vec<u32> {
        let layers = &self.layers[block_idx as usize][half(SubBlock::Mlp)];
        let outline = &self.space.outline().layers;
        let mut experts: Vec<u32> = layers
            .iter()
            .filter_map(|&idx| outline[idx].expert_idx)
            .collect();
        experts.sort_unstable();
        experts.dedup();
        experts.retain(|&expert_idx| {
            let fate = self.fate(block_idx, BlockPart::Expert { expert_idx }, switch);
            matches!(fate, Fate::IsDropped | Fate::StaysDropped)
        });
        experts
    }

    fn weight_after(&self, layer_idx: usize, switch: Switch<'_>) -> Option<WeightId> {
        let replaced = |edits: &[ResolvedEdit]| {
            edits.iter().find_map(|edit| match edit {
                ResolvedEdit::Replace(id) if id.layer_idx as usize == layer_idx => Some(*id),
                _ => None,
            })
        };
        match replaced(switch.before) {
            Some(_) => replaced(switch.after),
            None => replaced(switch.after).or(self.chosen[layer_idx]),
        }
    }

    fn place(&self, edit: &ResolvedEdit) -> (u32, SubBlock) {
        match edit {
            ResolvedEdit::Drop { block_idx, part } => {
                let sub_block = match part {
                    BlockPart::Attention => SubBlock::Attention,
                    _ => SubBlock::Mlp,
                };
                (*block_idx, sub_block)
            }
            ResolvedEdit::Replace(id) => {
                let layer = &self.space.outline().layers[id.layer_idx as usize];
                (layer.block_idx, layer.sub_block)
            }
        }
    }
}

impl<'a> Switch<'a> {
    fn edits(self) -> impl Iterator<Item = &'a ResolvedEdit> {
        self.before.iter().chain(self.after)
    }

    /// Experts that either level drops in a block's MLP.
    fn experts(self, place: (u32, SubBlock)) -> impl Iterator<Item = u32> {
        self.edits().filter_map(move |edit| match edit {
            ResolvedEdit::Drop {
                block_idx,
                part: BlockPart::Expert { expert_idx },
            } if (*block_idx, SubBlock::Mlp) == place => Some(*expert_idx),
            _ => None,
        })
    }
}

fn half(sub_block: SubBlock) -> usize {
    match sub_block {
        SubBlock::Attention => 0,
        SubBlock::Mlp => 1,
    }
}

/// How often a level drops a part.
fn count_drops(edits: &[ResolvedEdit], place: (u32, BlockPart)) -> u32 {
    let drops = |edit: &ResolvedEdit| match edit {
        ResolvedEdit::Drop { block_idx, part } => (*block_idx, *part) == place,
        ResolvedEdit::Replace(_) => false,
    };
    edits.iter().filter(|edit| drops(edit)).count() as u32
}
