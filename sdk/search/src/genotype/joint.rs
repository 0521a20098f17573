//! Several methods in one search: what they offer for the same layers becomes one unit.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use evopress_plugin::{Edit, Method, ModelOutline, Unit};

use super::budget::Budget;
use super::sizes::Sizes;
use crate::error::{Result, SearchError};

/// The units of one method.
pub struct MethodUnits<'a> {
    /// The plugin's name.
    pub name: String,
    /// Asked for the budget of each group once units are tied and grouped.
    pub method: &'a dyn Method,
    /// As the method returned them.
    pub units: Vec<Unit>,
}

impl<'a> MethodUnits<'a> {
    /// What the method offers for a model and a budget.
    ///
    /// # Errors
    /// The method's own.
    pub fn of(
        name: impl Into<String>,
        method: &'a dyn Method,
        outline: &ModelOutline,
        budget: &Budget,
    ) -> Result<Self> {
        Ok(Self {
            name: name.into(),
            units: method.units(outline, budget.target_for(method.measure()))?,
            method,
        })
    }
}

/// A unit, and the method that each of its levels comes from.
#[derive(Debug, Clone)]
pub(super) struct Sourced {
    pub(super) unit: Unit,
    pub(super) method_idxs: Vec<u16>,
}

impl Sourced {
    pub(super) fn new(unit: Unit, method_idx: u16) -> Self {
        Self {
            method_idxs: vec![method_idx; unit.levels.len()],
            unit,
        }
    }
}

/// Whether a unit can replace weights; one that cannot only drops sub-blocks.
pub(super) fn replaces(unit: &Unit) -> bool {
    unit.levels
        .iter()
        .flat_map(|level| &level.edits)
        .any(|edit| matches!(edit, Edit::Replace { .. }))
}

/// One list of units with costs in bytes: those of different methods that replace the same layers
/// are one unit with the levels of both, in order of bytes that do not rise, of equals the earlier
/// method's first. Units that only drop stay their own and cost nothing.
pub(super) fn merged(
    methods: Vec<(&str, Vec<Unit>)>,
    outline: &ModelOutline,
    group: &str,
) -> Vec<Sourced> {
    let mut merged: Vec<Sourced> = Vec::new();
    let mut by_layers: HashMap<Vec<u32>, usize> = HashMap::new();
    let names: Vec<&str> = methods.iter().map(|(name, _)| *name).collect();
    for (method_idx, (_, units)) in methods.into_iter().enumerate() {
        for unit in units {
            let mut layers = unit.layer_idxs.clone();
            layers.sort_unstable();
            let added = Sourced::new(unit, method_idx as u16);
            if !replaces(&added.unit) {
                merged.push(added);
                continue;
            }
            let at = *by_layers.entry(layers).or_insert(merged.len());
            match merged.get_mut(at) {
                Some(unit) => {
                    unit.unit.levels.extend(added.unit.levels);
                    unit.method_idxs.extend(added.method_idxs);
                }
                None => merged.push(added),
            }
        }
    }
    let replacing = merged.iter().filter(|it| replaces(&it.unit));
    let names_taken: HashSet<String> = replacing.map(|it| it.unit.name.clone()).collect();
    for dropping in merged.iter_mut().filter(|it| !replaces(&it.unit)) {
        // An expert whose layers share a level has the name of the unit that drops it.
        if names_taken.contains(&dropping.unit.name) {
            let method_name = names[usize::from(dropping.method_idxs[0])];
            dropping.unit.name = format!("{}.{method_name}", dropping.unit.name);
        }
    }
    for unit in &mut merged {
        in_bytes(unit, outline, &names);
        group.clone_into(&mut unit.unit.group);
    }
    merged
}

/// Gives the levels their bytes as costs, sorts them, and says whose they are where several methods
/// share the unit.
fn in_bytes(sourced: &mut Sourced, outline: &ModelOutline, names: &[&str]) {
    let unit = &mut sourced.unit;
    let bytes = match replaces(unit) {
        true => Sizes::of_levels(outline, unit),
        false => vec![0; unit.levels.len()],
    };
    let is_shared = sourced
        .method_idxs
        .iter()
        .any(|method_idx| *method_idx != sourced.method_idxs[0]);
    let mut levels: Vec<_> = std::mem::take(&mut unit.levels)
        .into_iter()
        .zip(std::mem::take(&mut sourced.method_idxs))
        .zip(bytes)
        .map(|((mut level, method_idx), cost)| {
            level.cost = cost;
            if is_shared {
                level.name = format!("{}:{}", names[usize::from(method_idx)], level.name);
            }
            (level, method_idx)
        })
        .collect();
    levels.sort_by_key(|(level, _)| Reverse(level.cost));
    (unit.levels, sourced.method_idxs) = levels.into_iter().unzip();
    // Which level calibrates is the business of each method's own units.
    unit.calibration_level = 0;
}

/// Refuses units of which two replace the same layer, or bear the same name.
pub(super) fn check_overlap(units: &[Sourced], outline: &ModelOutline) -> Result<()> {
    let mut names: HashMap<&str, ()> = HashMap::new();
    let mut replaced_by: HashMap<u32, &str> = HashMap::new();
    for Sourced { unit, .. } in units {
        if names.insert(&unit.name, ()).is_some() {
            return Err(SearchError::Budget(format!(
                "two methods have a unit `{}`, and neither replaces the other's layers",
                unit.name
            )));
        }
        for edit in unit.levels.iter().flat_map(|level| &level.edits) {
            let Edit::Replace { layer_idx, .. } = edit else {
                continue;
            };
            let other = replaced_by.insert(*layer_idx, &unit.name);
            if let Some(other) = other.filter(|other| *other != unit.name) {
                return Err(SearchError::Budget(format!(
                    "units `{other}` and `{}` both replace layer `{}`: units of several methods cover the same layers, or none in \
                     common",
                    unit.name, outline.layers[*layer_idx as usize].name
                )));
            }
        }
    }
    Ok(())
}
