//! Genotypes: one level per unit, and what that means for the model.

use evopress_plugin::{Edit, GroupBudget, Unit};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};

/// One level index per unit, in the order of [`SearchSpace::units`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Genotype(pub Vec<u16>);

/// Which sub-blocks are left out of the forward pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Per block: no attention.
    pub attention: Vec<bool>,
    /// Per block: no MLP.
    pub mlp: Vec<bool>,
}

impl Dropped {
    /// The dense model.
    pub fn none(num_blocks: usize) -> Self {
        Self {
            attention: vec![false; num_blocks],
            mlp: vec![false; num_blocks],
        }
    }

    /// Sub-blocks that run.
    pub fn num_kept(&self) -> usize {
        self.attention
            .iter()
            .chain(&self.mlp)
            .filter(|dropped| !**dropped)
            .count()
    }
}

/// Units with their levels, and the budget of each group of units.
#[derive(Debug, Clone)]
pub struct SearchSpace {
    num_blocks: usize,
    units: Vec<Unit>,
    groups: Vec<Group>,
}

/// Units between which level switches move cost, with the most that they may cost together.
#[derive(Debug, Clone)]
pub struct Group {
    /// As the method names it: `attention`.
    pub name: String,
    /// Indices into [`SearchSpace::units`].
    pub unit_idxs: Vec<usize>,
    /// Largest sum of the units' level costs.
    pub max_cost: u64,
}

impl SearchSpace {
    /// Checks what a method returned and sorts it by group.
    ///
    /// # Errors
    /// Units without a budget, with fewer than two levels, out of order, beyond the model, or a budget that nothing meets.
    pub fn new(num_blocks: usize, units: Vec<Unit>, budgets: &[GroupBudget]) -> Result<Self> {
        let refuse = |message: String| Err(EngineError::Budget(message));
        if units.is_empty() {
            return refuse("the method found nothing to compress in this model".into());
        }
        for unit in &units {
            if unit.levels.len() < 2 {
                return refuse(format!(
                    "unit `{}` has {} level, a search needs at least 2",
                    unit.name,
                    unit.levels.len()
                ));
            }
            if unit
                .levels
                .windows(2)
                .any(|pair| pair[0].cost <= pair[1].cost)
            {
                return refuse(format!(
                    "the levels of unit `{}` are not in order of falling cost",
                    unit.name
                ));
            }
            for edit in unit.levels.iter().flat_map(|level| &level.edits) {
                match edit {
                    Edit::DropAttention { block_idx } | Edit::DropMlp { block_idx } => {
                        if *block_idx as usize >= num_blocks {
                            return refuse(format!(
                                "unit `{}` drops part of block {block_idx}, but the model has {num_blocks} blocks",
                                unit.name
                            ));
                        }
                    }
                    other => {
                        return refuse(format!(
                            "unit `{}` asks for {other:?}, which this engine does not know",
                            unit.name
                        ));
                    }
                }
            }
        }
        let mut groups = Vec::new();
        for budget in budgets {
            let unit_idxs: Vec<usize> = (0..units.len())
                .filter(|&idx| units[idx].group == budget.group)
                .collect();
            let cheapest: u64 = unit_idxs
                .iter()
                .filter_map(|&idx| units[idx].levels.last())
                .map(|level| level.cost)
                .sum();
            if cheapest > budget.max_cost {
                return refuse(format!(
                    "no genotype meets the budget of group `{}`: its cheapest levels cost {cheapest}, allowed are {}",
                    budget.group, budget.max_cost
                ));
            }
            groups.push(Group {
                name: budget.group.clone(),
                unit_idxs,
                max_cost: budget.max_cost,
            });
        }
        if let Some(unit) = units
            .iter()
            .find(|unit| budgets.iter().filter(|b| b.group == unit.group).count() != 1)
        {
            return refuse(format!(
                "the method gave no single budget for group `{}` of unit `{}`",
                unit.group, unit.name
            ));
        }
        Ok(Self {
            num_blocks,
            units,
            groups,
        })
    }

    /// All units.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Blocks of the model.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// All groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Cost of one group's units.
    pub fn cost(&self, genotype: &Genotype, group: &Group) -> u64 {
        group
            .unit_idxs
            .iter()
            .map(|&idx| self.units[idx].levels[usize::from(genotype.0[idx])].cost)
            .sum()
    }

    /// Whether every group is within its budget.
    pub fn meets_budget(&self, genotype: &Genotype) -> bool {
        genotype.0.len() == self.units.len()
            && genotype
                .0
                .iter()
                .zip(&self.units)
                .all(|(&level, unit)| usize::from(level) < unit.levels.len())
            && self
                .groups
                .iter()
                .all(|group| self.cost(genotype, group) <= group.max_cost)
    }

    /// The level of each unit by name.
    pub fn describe(&self, genotype: &Genotype) -> Vec<(String, String)> {
        self.units
            .iter()
            .zip(&genotype.0)
            .map(|(unit, &level)| {
                (
                    unit.name.clone(),
                    unit.levels[usize::from(level)].name.clone(),
                )
            })
            .collect()
    }

    /// What the genotype leaves out of the model.
    pub fn dropped(&self, genotype: &Genotype) -> Dropped {
        let mut dropped = Dropped::none(self.num_blocks);
        for (unit, &level) in self.units.iter().zip(&genotype.0) {
            for edit in &unit.levels[usize::from(level)].edits {
                match edit {
                    Edit::DropAttention { block_idx } => {
                        dropped.attention[*block_idx as usize] = true
                    }
                    Edit::DropMlp { block_idx } => dropped.mlp[*block_idx as usize] = true,
                    _ => unreachable!("`SearchSpace::new` refuses edits that it does not know"),
                }
            }
        }
        dropped
    }
}
