//! The search space: what a genotype costs, and which model it stands for.

use std::collections::{BTreeSet, HashSet};

use evopress_plugin::{BlockPart, Encoding, ModelOutline, SubBlock, Unit, Variant};

use super::candidate::{Candidate, Dropped, Genotype, WeightId};
use super::grouping;
use super::sizes::Sizes;
use super::variants::LayerVariants;

/// Units with their levels, and the budget of each group of units.
#[derive(Debug, Clone)]
pub struct SearchSpace {
    pub(super) outline: ModelOutline,
    /// The target's measure; costs are bytes of the whole model where it is `size_bytes` or
    /// `compression`.
    pub(super) measure: String,
    pub(super) units: Vec<Unit>,
    pub(super) groups: Vec<Group>,
    /// By unit and level.
    pub(super) edits: Vec<Vec<Vec<ResolvedEdit>>>,
    /// By unit and level, as in `units`: what the search reads most often, side by side.
    pub(super) costs: Vec<Vec<u64>>,
    /// Whether costs are bytes of the whole model.
    pub(super) is_in_bytes: bool,
    /// By unit: whether it replaces no weights.
    pub(super) only_drops: Vec<bool>,
    /// By unit and level: the method that the level comes from.
    pub(super) method_idxs: Vec<Vec<u16>>,
    pub(super) sizes: Sizes,
    /// By method.
    pub(super) variants: Vec<Vec<LayerVariants>>,
    /// By block: how many experts genotypes may drop, where they may drop any.
    pub(super) max_dropped_experts: Option<Vec<usize>>,
}

/// Units between which level switches move cost, with the most that they may cost together.
#[derive(Debug, Clone)]
pub struct Group {
    /// As the method or the grouping names it: `attention`, `mlp.up_proj`, `all`.
    pub name: String,
    /// Indices into [`SearchSpace::units`].
    pub unit_idxs: Vec<usize>,
    /// Highest [`SearchSpace::cost`].
    pub max_cost: u64,
}

/// What a level does to the dense model, in terms of the model rather than of the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolvedEdit {
    /// A part of a block is left out.
    Drop {
        /// The block.
        block_idx: u32,
        /// Its attention, its MLP or an expert.
        part: BlockPart,
    },
    /// A compressed weight stands in for a layer's dense one.
    Replace(WeightId),
}

impl SearchSpace {
    /// All units. Where the budget is in bytes, a level's cost is the bytes of the unit's layers,
    /// and 0 for units that only drop.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// All groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Blocks of the model.
    pub fn num_blocks(&self) -> usize {
        self.outline.num_blocks as usize
    }

    /// The model's linear layers.
    pub fn outline(&self) -> &ModelOutline {
        &self.outline
    }

    /// The measure of the target: `drop`, `sparsity`, `bits_per_weight`, `size_bytes`,
    /// `compression`.
    pub fn measure(&self) -> &str {
        &self.measure
    }

    /// How many methods there are.
    pub fn num_methods(&self) -> usize {
        self.variants.len()
    }

    /// For each layer that a method replaces, by layer: the weights that its levels are made of.
    /// Empty for an unknown method.
    pub fn variants(&self, method_idx: usize) -> &[LayerVariants] {
        self.variants.get(method_idx).map_or(&[], Vec::as_slice)
    }

    /// A compressed weight.
    ///
    /// # Panics
    /// If it is not one of this space's.
    pub fn variant(&self, id: WeightId) -> &Variant {
        let layers = &self.variants[usize::from(id.method_idx)];
        let at = layers
            .binary_search_by_key(&id.layer_idx, |layer| layer.layer_idx)
            .expect("a weight's layer is one that its method compresses");
        &layers[at].variants[usize::from(id.variant_idx)]
    }

    /// How the weights of all levels are packed, each way once.
    pub fn encodings(&self) -> HashSet<Encoding> {
        let layers = self.variants.iter().flatten();
        let variants = layers.flat_map(|layer| &layer.variants);
        variants.map(|variant| variant.encoding.clone()).collect()
    }

    /// What a level of a unit does.
    pub fn edits(&self, unit_idx: usize, level: usize) -> &[ResolvedEdit] {
        &self.edits[unit_idx][level]
    }

    /// Compressed weights that a unit puts in at a level.
    pub fn weights(&self, unit_idx: usize, level: usize) -> Vec<WeightId> {
        let edits = self.edits(unit_idx, level).iter();
        edits
            .filter_map(|edit| match edit {
                ResolvedEdit::Replace(id) => Some(*id),
                ResolvedEdit::Drop { .. } => None,
            })
            .collect()
    }

    /// Whether a unit has nothing to offer but to drop parts of blocks.
    pub fn only_drops(&self, unit_idx: usize) -> bool {
        self.only_drops[unit_idx]
    }

    /// Whether a unit's levels give layers of an MLP other weights.
    pub(crate) fn changes_mlp(&self, unit_idx: usize) -> bool {
        let mut edits = self.edits[unit_idx].iter().flatten();
        edits.any(|edit| match edit {
            ResolvedEdit::Replace(id) => {
                self.outline.layers[id.layer_idx as usize].sub_block == SubBlock::Mlp
            }
            ResolvedEdit::Drop { .. } => false,
        })
    }

    /// Cost of one group's units; the bytes of the whole model where the budget is in bytes.
    pub fn cost(&self, genotype: &Genotype, group: &Group) -> u64 {
        if self.is_in_bytes() {
            return self.sizes.total(genotype);
        }
        let cost = |&idx: &usize| self.costs[idx][genotype.level(idx)];
        group.unit_idxs.iter().map(cost).sum()
    }

    /// What the cost of a unit's group grows by when the unit gets another level.
    pub(crate) fn cost_change(&self, genotype: &Genotype, unit_idx: usize, level: usize) -> i64 {
        if self.is_in_bytes() {
            return self.sizes.change(genotype, unit_idx, level);
        }
        let costs = &self.costs[unit_idx];
        costs[level] as i64 - costs[genotype.level(unit_idx)] as i64
    }

    /// The levels next below (`lower`) or above a level of a unit, nearest first: the nearest of
    /// each method that shares the unit, as one method's levels may all be worse than another's of
    /// the same size and would stand in the way.
    pub(crate) fn next_levels(
        &self,
        unit_idx: usize,
        level: usize,
        lower: bool,
    ) -> impl Iterator<Item = usize> + '_ {
        let methods = &self.method_idxs[unit_idx];
        let count = if lower {
            methods.len() - level - 1
        } else {
            level
        };
        let nearest_first = move |at: usize| {
            if lower {
                level + 1 + at
            } else {
                level - 1 - at
            }
        };
        let is_nearest_of_method = move |found: &usize| {
            let nearer = if lower {
                level + 1..*found
            } else {
                found + 1..level
            };
            !methods[nearer].contains(&methods[*found])
        };
        (0..count).map(nearest_first).filter(is_nearest_of_method)
    }

    /// Units whose cost change another level of `unit_idx` may change, itself among them.
    pub(crate) fn units_with_shared_cost(&self, unit_idx: usize) -> Vec<usize> {
        match self.is_in_bytes() {
            true => self.sizes.units_with_shared_layers(unit_idx),
            false => vec![unit_idx],
        }
    }

    /// The method that a unit's level comes from.
    pub(crate) fn method_idx(&self, unit_idx: usize, level: usize) -> u16 {
        self.method_idxs[unit_idx][level]
    }

    /// Methods that put weights into units of a group, in order.
    pub(crate) fn methods(&self, group: &Group) -> Vec<u16> {
        let units = group.unit_idxs.iter();
        let methods: BTreeSet<u16> = units
            .filter(|&&idx| !self.only_drops(idx))
            .flat_map(|&idx| self.method_idxs[idx].iter().copied())
            .collect();
        methods.into_iter().collect()
    }

    /// Whether a unit's level makes no difference, because other units drop all that it changes.
    pub(crate) fn is_idle(&self, genotype: &Genotype, unit_idx: usize) -> bool {
        self.sizes.is_idle(genotype, unit_idx)
    }

    /// Whether every group is within its budget, and every block has the experts that a token
    /// needs.
    pub fn meets_budget(&self, genotype: &Genotype) -> bool {
        genotype.0.len() == self.units.len()
            && (0..self.units.len()).all(|idx| genotype.level(idx) < self.units[idx].levels.len())
            && self
                .groups
                .iter()
                .all(|group| self.cost(genotype, group) <= group.max_cost)
            && self.has_active_experts(genotype)
    }

    /// Packed bytes of the whole model: what no method changes, each layer's compressed or dense
    /// weight, nothing for dropped layers.
    pub fn size_bytes(&self, genotype: &Genotype) -> u64 {
        self.sizes.total(genotype)
    }

    /// Bytes of the whole dense model.
    pub fn dense_bytes(&self) -> u64 {
        self.sizes.dense()
    }

    /// What a genotype comes to in the target's measure: bytes, the dense model's bytes over its
    /// own, average bits per weight and share of weights that are zero over the layers of all
    /// units, or else the share of the highest cost that is saved.
    pub fn achieved(&self, genotype: &Genotype) -> f64 {
        let size_bytes = self.size_bytes(genotype) as f64;
        let all: Vec<usize> = (0..self.units.len()).collect();
        let num_weights = self.num_weights(&all) as f64;
        let cost = |genotype: &Genotype| -> u64 {
            let costs = self.groups.iter().map(|group| self.cost(genotype, group));
            costs.sum()
        };
        match self.measure.as_str() {
            "size_bytes" => size_bytes,
            "compression" => self.dense_bytes() as f64 / size_bytes,
            "bits_per_weight" => cost(genotype) as f64 / num_weights,
            "sparsity" => (num_weights - cost(genotype) as f64) / num_weights,
            _ => {
                let most = cost(&self.max_cost_genotype());
                (most - cost(genotype)) as f64 / most as f64
            }
        }
    }

    /// Share of the layers' work that a forward pass within the budget does: compressed weights
    /// take as much as dense ones.
    pub fn forward_share(&self) -> f64 {
        match (0..self.units.len()).all(|idx| self.only_drops(idx)) {
            true => {
                let shares = self.groups.iter().map(|group| self.allowed_share(group));
                shares.sum::<f64>() / self.groups.len() as f64
            }
            false => 1.0,
        }
    }

    /// Where a group's budget lies between its levels of least cost (0) and those of highest cost
    /// (1).
    pub(crate) fn allowed_share(&self, group: &Group) -> f64 {
        let least = self.cost(&self.min_cost_genotype(), group);
        let most = self.cost(&self.max_cost_genotype(), group);
        (group.max_cost - least) as f64 / (most - least).max(1) as f64
    }

    /// The level of each unit by name; `dropped` where other units drop all that it changes.
    pub fn describe(&self, genotype: &Genotype) -> Vec<(String, String)> {
        let level = |(idx, unit): (usize, &Unit)| {
            let level = match self.is_idle(genotype, idx) {
                true => "dropped",
                false => unit.levels[genotype.level(idx)].name.as_str(),
            };
            (unit.name.clone(), level.to_owned())
        };
        self.units.iter().enumerate().map(level).collect()
    }

    /// What the genotype leaves out of the model.
    pub fn dropped(&self, genotype: &Genotype) -> Dropped {
        let mut dropped = Dropped::none(self.num_blocks());
        for edit in self.chosen(genotype) {
            if let ResolvedEdit::Drop { block_idx, part } = edit {
                dropped.drop(block_idx as usize, part);
            }
        }
        dropped
    }

    /// The model that the genotype stands for.
    pub fn candidate(&self, genotype: &Genotype) -> Candidate {
        let dropped = self.dropped(genotype);
        let mut weights = vec![None; self.outline.layers.len()];
        for edit in self.chosen(genotype) {
            let ResolvedEdit::Replace(id) = edit else {
                continue;
            };
            if !dropped.contains_layer(&self.outline.layers[id.layer_idx as usize]) {
                weights[id.layer_idx as usize] = Some(id);
            }
        }
        Candidate { dropped, weights }
    }

    /// Every unit at its level of highest cost.
    pub fn max_cost_genotype(&self) -> Genotype {
        Genotype(vec![0; self.units.len()])
    }

    /// Every unit at its level of least cost, but for experts that a token needs.
    pub fn min_cost_genotype(&self) -> Genotype {
        let last = |unit: &Unit| (unit.levels.len() - 1) as u16;
        let mut genotype = Genotype(self.units.iter().map(last).collect());
        self.restore_active_experts(&mut genotype);
        genotype
    }

    /// Whether costs are bytes of the whole model.
    pub(crate) fn is_in_bytes(&self) -> bool {
        self.is_in_bytes
    }

    /// Weights of the layers of some units.
    pub(crate) fn num_weights(&self, unit_idxs: &[usize]) -> u64 {
        let units = unit_idxs.iter().map(|&idx| &self.units[idx]);
        units
            .map(|unit| grouping::num_weights(unit, &self.outline))
            .sum()
    }

    /// What the levels of all units do, in the order of the units.
    pub(super) fn chosen<'a>(
        &'a self,
        genotype: &'a Genotype,
    ) -> impl Iterator<Item = ResolvedEdit> + 'a {
        let units = self.edits.iter().enumerate();
        units.flat_map(|(idx, levels)| levels[genotype.level(idx)].iter().copied())
    }
}
