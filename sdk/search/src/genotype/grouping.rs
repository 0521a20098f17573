//! Between which units level switches move budget, for units whose method leaves that open.

use std::collections::HashMap;

use evopress_plugin::{LayerOutline, Level, ModelOutline, SubBlock, Unit};
use serde::{Deserialize, Serialize};

/// Name of the group over all units.
pub(super) const ALL: &str = "all";

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
    /// One group, and the layers of a sub-block that read the same input share a level: q, k and v;
    /// gate and up.
    Tied,
    /// One group, and the layers of an expert share a level; others as with [`Grouping::Tied`].
    Expert,
    /// One group, and all experts of a block share a level; others as with [`Grouping::Tied`].
    Block,
}

/// Ties units where `grouping` says so, and gives a group to each that has none.
pub(super) fn group(units: Vec<Unit>, outline: &ModelOutline, grouping: Grouping) -> Vec<Unit> {
    let mut units = match grouping {
        Grouping::Tied | Grouping::Expert | Grouping::Block => tie(units, outline, grouping),
        Grouping::Size | Grouping::Name | Grouping::None => units,
    };
    for unit in units.iter_mut().filter(|unit| unit.group.is_empty()) {
        unit.group = match grouping {
            Grouping::Size => format!("{} weights", num_weights(unit, outline)),
            Grouping::Name => kind(unit, outline).unwrap_or_else(|| unit.name.clone()),
            Grouping::None | Grouping::Tied | Grouping::Expert | Grouping::Block => ALL.to_owned(),
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

/// What a unit's first layer is within its block, the same for all experts: `mlp.up_proj`,
/// `experts.up_proj`.
fn kind(unit: &Unit, outline: &ModelOutline) -> Option<String> {
    let layer = &outline.layers[*unit.layer_idxs.first()? as usize];
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = layer.name.rsplit('.').filter(|part| !is_number(part));
    let last = parts.next()?;
    Some(match parts.next() {
        Some(module) => format!("{module}.{last}"),
        None => last.to_owned(),
    })
}

/// What the layers of a tied unit have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Tie {
    /// The input, the sub-block and the expert.
    Input(u32, SubBlock, Option<u32>),
    /// The block and the expert.
    Expert(u32, u32),
    /// The block, of whose experts they are.
    Experts(u32),
}

impl Tie {
    fn of(layer: &LayerOutline, grouping: Grouping) -> Self {
        match (grouping, layer.expert_idx) {
            (Grouping::Expert, Some(expert_idx)) => Self::Expert(layer.block_idx, expert_idx),
            (Grouping::Block, Some(_)) => Self::Experts(layer.block_idx),
            _ => Self::Input(layer.input_idx, layer.sub_block, layer.expert_idx),
        }
    }
}

/// Units that are tied to one another become one, in the place of the first.
fn tie(units: Vec<Unit>, outline: &ModelOutline, grouping: Grouping) -> Vec<Unit> {
    let mut places: HashMap<Tie, usize> = HashMap::new();
    let mut tied: Vec<Vec<Unit>> = Vec::with_capacity(units.len());
    for unit in units {
        let place = match tie_of(&unit, outline, grouping) {
            Some(tie) => *places.entry(tie).or_insert(tied.len()),
            None => tied.len(),
        };
        match tied.get_mut(place) {
            Some(members) => members.push(unit),
            None => tied.push(vec![unit]),
        }
    }
    let join = |mut members: Vec<Unit>| match members.len() {
        1 => members.swap_remove(0),
        _ => joined(tied_name(&members, outline, grouping), &members),
    };
    tied.into_iter().map(join).collect()
}

/// What a unit can be tied by: all its layers have it in common, and its method leaves its group
/// open.
fn tie_of(unit: &Unit, outline: &ModelOutline, grouping: Grouping) -> Option<Tie> {
    let tie = |idx: &u32| Tie::of(&outline.layers[*idx as usize], grouping);
    let mut ties = unit.layer_idxs.iter().map(tie);
    let first = ties.next().filter(|_| unit.group.is_empty())?;
    ties.all(|other| other == first).then_some(first)
}

/// The name of some layers' unit in their module: `model.layers.3.self_attn.qkv`,
/// `model.layers.3.mlp.gate_up`. A whole expert has its module's name, and so have all experts of a
/// block.
fn tied_name(members: &[Unit], outline: &ModelOutline, grouping: Grouping) -> String {
    let layers = members.iter().flat_map(|unit| &unit.layer_idxs);
    let layers: Vec<&LayerOutline> = layers.map(|&idx| &outline.layers[idx as usize]).collect();
    let module = layers[0].name.rsplit_once('.').map(|(module, _)| module);
    let tie = Tie::of(layers[0], grouping);
    match (
        tie,
        module,
        module.and_then(|module| module.rsplit_once('.')),
    ) {
        (Tie::Expert(..), Some(module), _) => return module.to_owned(),
        (Tie::Experts(_), _, Some((experts, _))) => return experts.to_owned(),
        _ => {}
    }
    let last = |layer: &&LayerOutline| match layer.name.rsplit_once('.') {
        Some((_, last)) => last.trim_end_matches("_proj").to_owned(),
        None => layer.name.clone(),
    };
    let roles: Vec<String> = layers.iter().map(last).collect();
    let separator = match roles.iter().all(|role| role.len() == 1) {
        true => "",
        false => "_",
    };
    let roles = roles.join(separator);
    match module {
        Some(module) => format!("{module}.{roles}"),
        None => roles,
    }
}

/// One unit of several: levels of the same name together, or of the same position where names
/// differ.
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
