//! Between which units level switches move budget, for units whose method leaves that open.

use evopress_plugin::{Level, ModelOutline, Unit};
use serde::{Deserialize, Serialize};

/// Name of the group over all units.
pub(super) const ALL: &str = "all";

/// Layers of one parent module that `tied` ties: the unit's name in that module, and theirs.
const TIES: [(&str, &[&str]); 2] = [
    ("qkv", &["q_proj", "k_proj", "v_proj"]),
    ("gate_up", &["gate_proj", "up_proj"]),
];

/// How linear layers form groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Units with equally many weights, as in the paper.
    Size,
    /// Units of the same kind: all `mlp.up_proj`.
    Name,
    /// One group over all units.
    None,
    /// One group, and q, k, v of a block share a level, as do gate and up.
    Tied,
}

/// Ties units where `grouping` says so, and gives a group to each that has none.
pub(super) fn group(units: Vec<Unit>, outline: &ModelOutline, grouping: Grouping) -> Vec<Unit> {
    let mut units = match grouping {
        Grouping::Tied => tie(units, outline),
        Grouping::Size | Grouping::Name | Grouping::None => units,
    };
    for unit in units.iter_mut().filter(|unit| unit.group.is_empty()) {
        unit.group = match grouping {
            Grouping::Size => format!("{} weights", num_weights(unit, outline)),
            Grouping::Name => kind(unit, outline).unwrap_or(&unit.name).to_owned(),
            Grouping::None | Grouping::Tied => ALL.to_owned(),
        };
    }
    units
}

/// Weights of all layers of a unit.
pub(super) fn num_weights(unit: &Unit, outline: &ModelOutline) -> u64 {
    unit.layer_idxs
        .iter()
        .map(|&idx| outline.layers[idx as usize].num_weights())
        .sum()
}

/// The name of a unit's first layer within its block: `mlp.up_proj`.
fn kind<'a>(unit: &Unit, outline: &'a ModelOutline) -> Option<&'a str> {
    let name = outline.layers[*unit.layer_idxs.first()? as usize]
        .name
        .as_str();
    let start = name.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
    Some(&name[start..])
}

/// Units that are tied to one another become one, in the place of the first.
fn tie(units: Vec<Unit>, outline: &ModelOutline) -> Vec<Unit> {
    let mut tied: Vec<(Option<String>, Vec<Unit>)> = Vec::new();
    for unit in units {
        let name = tied_name(&unit, outline);
        let found = tied
            .iter_mut()
            .find(|(other, _)| name.is_some() && *other == name);
        match found {
            Some((_, members)) => members.push(unit),
            None => tied.push((name, vec![unit])),
        }
    }
    let join = |(name, mut members): (Option<String>, Vec<Unit>)| match (name, members.len()) {
        (Some(name), 2..) => joined(name, &members),
        _ => members.swap_remove(0),
    };
    tied.into_iter().map(join).collect()
}

/// What a unit is tied into: `model.layers.3.self_attn.qkv`.
fn tied_name(unit: &Unit, outline: &ModelOutline) -> Option<String> {
    if !unit.group.is_empty() {
        return None;
    }
    let mut layers = unit
        .layer_idxs
        .iter()
        .map(|&idx| outline.layers[idx as usize].name.rsplit_once('.'));
    let (module, first) = layers.next()??;
    let (tie, members) = TIES.iter().find(|(_, members)| members.contains(&first))?;
    layers
        .all(|layer| layer.is_some_and(|(other, name)| other == module && members.contains(&name)))
        .then(|| format!("{module}.{tie}"))
}

/// One unit of several: levels of the same name together, or of the same position where names differ.
fn joined(name: String, members: &[Unit]) -> Unit {
    let first = &members[0];
    let by_name: Vec<Vec<&Level>> = first
        .levels
        .iter()
        .filter_map(|level| {
            members
                .iter()
                .map(|unit| named(unit, &level.name))
                .collect()
        })
        .collect();
    let by_position = || {
        let num_levels = members.iter().map(|unit| unit.levels.len()).min();
        (0..num_levels.unwrap_or(0))
            .map(|idx| members.iter().map(|unit| &unit.levels[idx]).collect())
            .collect()
    };
    let levels: Vec<Vec<&Level>> = match by_name.len() {
        0 | 1 => by_position(),
        _ => by_name,
    };
    let calibration = &first.levels[first.calibration_level as usize].name;
    let calibration_level = levels
        .iter()
        .position(|level| level[0].name == *calibration)
        .unwrap_or(0);
    Unit {
        name,
        group: String::new(),
        block_idx: first.block_idx,
        layer_idxs: members
            .iter()
            .flat_map(|unit| unit.layer_idxs.clone())
            .collect(),
        levels: levels.iter().map(|level| joined_level(level)).collect(),
        calibration_level: calibration_level as u32,
    }
}

fn named<'a>(unit: &'a Unit, name: &str) -> Option<&'a Level> {
    unit.levels.iter().find(|level| level.name == name)
}

fn joined_level(members: &[&Level]) -> Level {
    let mut names: Vec<&str> = members.iter().map(|level| level.name.as_str()).collect();
    names.dedup();
    Level {
        name: names.join("/"),
        cost: members.iter().map(|level| level.cost).sum(),
        edits: members
            .iter()
            .flat_map(|level| level.edits.clone())
            .collect(),
    }
}
