//! From what methods return to a search space: checked, tied, grouped, merged, with a budget for
//! each group.

use evopress_plugin::{Edit, GroupBudget, ModelOutline, Unit};

use super::budget::Budget;
use super::check::check;
use super::grouping::{self, ALL, Grouping};
use super::joint::{self, MethodUnits, Sourced};
use super::sizes::Sizes;
use super::space::{Group, ResolvedEdit, SearchSpace};
use super::variants::{self, LayerVariants};
use crate::error::{Result, SearchError};

impl SearchSpace {
    /// The search space of some methods under one budget. `fixed_bytes` is what no method changes:
    /// embeddings, norms and head in the run's dtype. `grouping` is for units whose method gives
    /// them no group; by default `size`, and `none` for budgets in bytes.
    ///
    /// # Errors
    /// Units that a search cannot work with, methods that do not go together, or a budget that no
    /// genotype meets or that all do: a sentence that says what is possible.
    pub fn new(
        outline: &ModelOutline,
        methods: &[MethodUnits<'_>],
        budget: &Budget,
        fixed_bytes: u64,
        grouping: Option<Grouping>,
    ) -> Result<Self> {
        let mut all_variants = Vec::with_capacity(methods.len());
        for method in methods {
            check(&method.units, outline).map_err(|reason| {
                SearchError::Budget(format!("method `{}`: {reason}", method.name))
            })?;
            all_variants.push(variants::of_units(&method.units, outline)?);
        }
        match budget {
            Budget::Measure { name, value } => {
                let method = only_method(methods, name)?;
                let grouping = grouping.unwrap_or(Grouping::Size);
                let units = grouping::group(method.units.clone(), outline, grouping);
                let budgets = method.method.budget(outline, &units, *value)?;
                let groups = groups(&units, &budgets)?;
                let units = units
                    .into_iter()
                    .map(|unit| Sourced::new(unit, 0))
                    .collect();
                Self::assemble(outline, name, units, groups, all_variants, fixed_bytes)
            }
            Budget::SizeBytes(_) | Budget::Compression(_) => {
                let grouping = grouping.unwrap_or(Grouping::None);
                if matches!(grouping, Grouping::Size | Grouping::Name) {
                    return refuse(
                        "a budget in bytes has one group over all units; `search.grouping` can be `none`, `tied`, `expert` or `block` with it",
                    );
                }
                let named = methods.iter().map(|method| {
                    let units = grouping::group(method.units.clone(), outline, grouping);
                    (method.name.as_str(), units)
                });
                let units = joint::merged(named.collect(), outline, ALL);
                let dense = Sizes::new(outline, &[], fixed_bytes).dense();
                let max_cost = budget.max_bytes(dense)?.unwrap_or(dense);
                let group = Group {
                    name: ALL.into(),
                    unit_idxs: (0..units.len()).collect(),
                    max_cost,
                };
                let measure = match budget {
                    Budget::Compression(_) => "compression",
                    _ => "size_bytes",
                };
                Self::assemble(
                    outline,
                    measure,
                    units,
                    vec![group],
                    all_variants,
                    fixed_bytes,
                )
            }
        }
    }

    /// The search space of units with budgets in costs of their own, without a method behind them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_budgets(
        outline: &ModelOutline,
        units: Vec<Unit>,
        budgets: &[GroupBudget],
    ) -> Result<Self> {
        check(&units, outline).map_err(SearchError::Budget)?;
        let variants = variants::of_units(&units, outline)?;
        let groups = groups(&units, budgets)?;
        let units = units
            .into_iter()
            .map(|unit| Sourced::new(unit, 0))
            .collect();
        Self::assemble(outline, "cost", units, groups, vec![variants], 0)
    }

    fn assemble(
        outline: &ModelOutline,
        measure: &str,
        sourced: Vec<Sourced>,
        groups: Vec<Group>,
        variants: Vec<Vec<LayerVariants>>,
        fixed_bytes: u64,
    ) -> Result<Self> {
        joint::check_overlap(&sourced, outline)?;
        let edits = sourced
            .iter()
            .map(|unit| resolved_edits(unit, &variants))
            .collect();
        let (units, method_idxs): (Vec<Unit>, _) = sourced
            .into_iter()
            .map(|sourced| (sourced.unit, sourced.method_idxs))
            .unzip();
        let costs = |unit: &Unit| unit.levels.iter().map(|level| level.cost).collect();
        let space = Self {
            sizes: Sizes::new(outline, &units, fixed_bytes),
            only_drops: units.iter().map(|unit| !joint::replaces(unit)).collect(),
            costs: units.iter().map(costs).collect(),
            is_in_bytes: matches!(measure, "size_bytes" | "compression"),
            outline: outline.clone(),
            measure: measure.to_owned(),
            units,
            groups,
            edits,
            method_idxs,
            variants,
            max_dropped_experts: None,
        };
        space.check_budget()?;
        Ok(space)
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T> {
    Err(SearchError::Budget(reason.into()))
}

/// The one method of a budget in a method's measure.
fn only_method<'a, 'm>(
    methods: &'a [MethodUnits<'m>],
    measure: &str,
) -> Result<&'a MethodUnits<'m>> {
    match methods {
        [method] if method.method.measure() == measure => Ok(method),
        [method] => refuse(format!(
            "found the budget `{measure}`, but method `{}` is budgeted in `{}`",
            method.name,
            method.method.measure()
        )),
        [] => refuse("a search needs a method, found none"),
        several => {
            let names: Vec<String> = several.iter().map(|m| format!("`{}`", m.name)).collect();
            refuse(format!(
                "{} can only share a budget in bytes (`size_bytes` or `compression`), found `{measure}`",
                names.join(" and ")
            ))
        }
    }
}

/// One group for each budget, and every unit in one of them.
fn groups(units: &[Unit], budgets: &[GroupBudget]) -> Result<Vec<Group>> {
    if let Some(unit) = units
        .iter()
        .find(|unit| budgets.iter().filter(|b| b.group == unit.group).count() != 1)
    {
        return refuse(format!(
            "the method gave no single budget for group `{}` of unit `{}`",
            unit.group, unit.name
        ));
    }
    let of_budget = |budget: &GroupBudget| Group {
        name: budget.group.clone(),
        unit_idxs: (0..units.len())
            .filter(|&idx| units[idx].group == budget.group)
            .collect(),
        max_cost: budget.max_cost,
    };
    Ok(budgets
        .iter()
        .map(of_budget)
        .filter(|group| !group.unit_idxs.is_empty())
        .collect())
}

/// What each level of a unit does.
fn resolved_edits(sourced: &Sourced, variants: &[Vec<LayerVariants>]) -> Vec<Vec<ResolvedEdit>> {
    let levels = sourced.unit.levels.iter().zip(&sourced.method_idxs);
    levels
        .map(|(level, &method_idx)| {
            let resolved = |edit: &Edit| match edit {
                Edit::Drop { block_idx, part } => Some(ResolvedEdit::Drop {
                    block_idx: *block_idx,
                    part: *part,
                }),
                Edit::Replace { layer_idx, variant } => {
                    let layers = &variants[usize::from(method_idx)];
                    let id = variants::weight_id(layers, method_idx, *layer_idx, variant);
                    Some(ResolvedEdit::Replace(id))
                }
                // `check` has refused every other edit.
                _ => None,
            };
            level.edits.iter().filter_map(resolved).collect()
        })
        .collect()
}
