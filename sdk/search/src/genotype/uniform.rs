//! The uniform genotype: one level for all units, the start of the paper's searches where it uses
//! up the budget.

use std::collections::HashSet;

use super::candidate::Genotype;
use super::space::{Group, SearchSpace};

impl SearchSpace {
    /// The uniform genotype: one level for all units of each group that replace weights (one name,
    /// or one position where names differ), the most costly one that the budget allows, and nothing
    /// dropped. None where there is no such level, or nothing that replaces weights.
    pub fn uniform(&self) -> Option<Genotype> {
        let mut genotype = self.max_cost_genotype();
        for group in &self.groups {
            if !self.make_uniform(&mut genotype, group, None) {
                return None;
            }
        }
        self.meets_budget(&genotype).then_some(genotype)
    }

    /// The uniform genotype where it leaves no room to raise any unit: the paper's start. Elsewhere
    /// the search starts from random ones.
    pub fn exact_uniform(&self) -> Option<Genotype> {
        let uniform = self.uniform()?;
        let has_room = self.groups.iter().any(|group| {
            let slack = group.max_cost - self.cost(&uniform, group);
            group.unit_idxs.iter().any(|&idx| {
                (0..uniform.level(idx)).any(|level| {
                    let step = self.cost_change(&uniform, idx, level);
                    step > 0 && step as u64 <= slack
                })
            })
        });
        (!has_room).then_some(uniform)
    }

    /// Gives a group's replacing units the most costly uniform level that the budget allows,
    /// whatever the others are at; levels of `method_idx` alone where one is given. False, and
    /// nothing changed, where there is none.
    pub(crate) fn make_uniform(
        &self,
        genotype: &mut Genotype,
        group: &Group,
        method_idx: Option<u16>,
    ) -> bool {
        let unit_idxs: Vec<usize> = group
            .unit_idxs
            .iter()
            .copied()
            .filter(|&idx| !self.only_drops(idx))
            .collect();
        let is_of_method = |levels: &Vec<u16>| {
            let of_units = unit_idxs.iter().zip(levels);
            let mut found = of_units.map(|(&idx, &level)| self.method_idx(idx, level.into()));
            found.all(|found| method_idx.is_none_or(|method_idx| found == method_idx))
        };
        let most_costly = |levels: Vec<Vec<u16>>| {
            let levels = levels.into_iter().filter(is_of_method);
            let costs = levels.filter_map(|levels| {
                let mut tried = genotype.clone();
                for (&idx, level) in unit_idxs.iter().zip(levels) {
                    tried.0[idx] = level;
                }
                let cost = self.cost(&tried, group);
                (cost <= group.max_cost).then_some((cost, tried))
            });
            // Of equals the first.
            costs.reduce(|best, next| if next.0 > best.0 { next } else { best })
        };
        let found = most_costly(self.by_name(&unit_idxs))
            .or_else(|| most_costly(self.by_position(&unit_idxs)));
        match found {
            Some((_, uniform)) => {
                *genotype = uniform;
                true
            }
            None => false,
        }
    }

    /// By level name that all units have: each unit's level.
    fn by_name(&self, unit_idxs: &[usize]) -> Vec<Vec<u16>> {
        let Some(&first) = unit_idxs.first() else {
            return Vec::new();
        };
        let at = |idx: usize, name: &str| {
            let position = self.units[idx].levels.iter().position(|l| l.name == name);
            position.map(|level| level as u16)
        };
        let levels = self.units[first].levels.iter();
        levels
            .filter_map(|level| unit_idxs.iter().map(|&idx| at(idx, &level.name)).collect())
            .collect()
    }

    /// By position, where all units have equally many levels.
    fn by_position(&self, unit_idxs: &[usize]) -> Vec<Vec<u16>> {
        let counts: HashSet<usize> = unit_idxs
            .iter()
            .map(|&idx| self.units[idx].levels.len())
            .collect();
        match counts.into_iter().collect::<Vec<_>>().as_slice() {
            [count] => (0..*count)
                .map(|level| vec![level as u16; unit_idxs.len()])
                .collect(),
            _ => Vec::new(),
        }
    }
}
