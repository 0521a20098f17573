//! The rules that every method's units keep.

use std::collections::HashSet;

use super::{BlockPart, Edit, Level, ModelOutline, Unit};
use crate::PluginError;

/// Whether units are what the search relies on. There are some, with distinct names. Their blocks,
/// layers and experts are the model's. Each has at least two levels in order of falling cost, and
/// encodings that fit its layers. The host checks every method's units in this way.
///
/// # Errors
/// The first unit that is not, and why.
pub fn check_units(units: &[Unit], model: &ModelOutline) -> Result<(), PluginError> {
    if units.is_empty() {
        return Err("no units".into());
    }
    let mut names = HashSet::new();
    let experts = model.layers.iter().filter_map(|layer| {
        let expert_idx = layer.expert_idx?;
        Some((layer.block_idx, expert_idx))
    });
    let experts: HashSet<(u32, u32)> = experts.collect();
    for unit in units {
        let name = &unit.name;
        if !names.insert(name) {
            return Err(format!("two units are named `{name}`").into());
        }
        check_place(unit, model)?;
        check_levels(&unit.levels)
            .and_then(|()| check_calibration(unit))
            .map_err(|reason| format!("unit `{name}`{reason}"))?;
        for edit in unit.levels.iter().flat_map(|level| &level.edits) {
            check_edit(unit, edit, model, &experts)?;
        }
    }
    Ok(())
}

/// The block and the layers of a unit are the model's.
fn check_place(unit: &Unit, model: &ModelOutline) -> Result<(), PluginError> {
    let Unit {
        name, block_idx, ..
    } = unit;
    if *block_idx >= model.num_blocks {
        return Err(format!(
            "unit `{name}` is in block {block_idx}, but the model has {} blocks",
            model.num_blocks
        )
        .into());
    }
    let num_layers = model.layers.len();
    let is_unknown = |idx: &&u32| **idx as usize >= num_layers;
    if let Some(layer) = unit.layer_idxs.iter().find(is_unknown) {
        return Err(format!(
            "unit `{name}` covers layer {layer}, but the model has {num_layers} layers"
        )
        .into());
    }
    Ok(())
}

/// At least two levels, in order of falling cost.
fn check_levels(levels: &[Level]) -> Result<(), String> {
    if levels.len() < 2 {
        return Err(format!(
            " has {} levels; at least 2 are needed",
            levels.len()
        ));
    }
    match levels.windows(2).find(|pair| pair[0].cost <= pair[1].cost) {
        Some(pair) => Err(format!(
            ": levels are not in order of falling cost: `{}` costs {}, `{}` after it costs {}",
            pair[0].name, pair[0].cost, pair[1].name, pair[1].cost
        )),
        None => Ok(()),
    }
}

fn check_calibration(unit: &Unit) -> Result<(), String> {
    match (unit.calibration_level as usize) < unit.levels.len() {
        true => Ok(()),
        false => Err(format!(
            " calibrates at level {}, but has {} levels",
            unit.calibration_level,
            unit.levels.len()
        )),
    }
}

/// What a level drops is in the model, and what it replaces is one of the unit's layers, in an
/// encoding that fits it.
///
/// `experts` are the model's, by block and number.
fn check_edit(
    unit: &Unit,
    edit: &Edit,
    model: &ModelOutline,
    experts: &HashSet<(u32, u32)>,
) -> Result<(), PluginError> {
    let name = &unit.name;
    match edit {
        Edit::Drop { block_idx, .. } if *block_idx >= model.num_blocks => Err(format!(
            "unit `{name}` drops part of block {block_idx}, but the model has {} blocks",
            model.num_blocks
        )
        .into()),
        Edit::Drop {
            block_idx,
            part: BlockPart::Expert { expert_idx },
        } if !experts.contains(&(*block_idx, *expert_idx)) => Err(format!(
            "unit `{name}` drops expert {expert_idx} of block {block_idx}, which has no such expert"
        )
        .into()),
        Edit::Drop { .. } => Ok(()),
        Edit::Replace { layer_idx, .. } if !unit.layer_idxs.contains(layer_idx) => {
            Err(format!("unit `{name}` replaces layer {layer_idx}, which it does not cover").into())
        }
        Edit::Replace { layer_idx, variant } => {
            let layer = &model.layers[*layer_idx as usize];
            variant
                .encoding
                .check(layer.out_features, layer.in_features)
                .map_err(|error| PluginError::new(format!("layer `{}`: {error}", layer.name)))
        }
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;
    use crate::conformance::{llama_outline, mixture_outline};

    /// A unit of block 1 that drops an expert of a block.
    fn unit(block_idx: u32, expert_idx: u32) -> Unit {
        let level = |name: &str, cost, edits| Level {
            name: name.to_owned(),
            cost,
            edits,
        };
        let part = BlockPart::Expert { expert_idx };
        Unit {
            name: "an expert".to_owned(),
            group: String::new(),
            block_idx: 1,
            layer_idxs: vec![],
            levels: vec![
                level("keep", 1, vec![]),
                level("drop", 0, vec![Edit::Drop { block_idx, part }]),
            ],
            calibration_level: 0,
        }
    }

    #[test]
    fn dropped_expert_is_one_of_the_models() {
        let model = mixture_outline(2, 3);
        assert_eq!(check_units(&[unit(1, 2)], &model), Ok(()));
        let refusal = |unit, model| check_units(&[unit], model).unwrap_err().message;
        assert_eq!(
            refusal(unit(1, 3), &model),
            "unit `an expert` drops expert 3 of block 1, which has no such expert"
        );
        assert_eq!(
            refusal(unit(2, 0), &model),
            "unit `an expert` drops part of block 2, but the model has 2 blocks"
        );
        assert_eq!(
            refusal(unit(0, 0), &llama_outline(2)),
            "unit `an expert` drops expert 0 of block 0, which has no such expert"
        );
    }

    #[test]
    fn dropping_an_expert_drops_its_layers_only() {
        let model = mixture_outline(2, 3);
        let edit = &unit(1, 2).levels[1].edits[0].clone();
        let dropped = model.layers.iter().filter(|layer| edit.drops(layer));
        let names: Vec<&str> = dropped.map(|layer| layer.name.as_str()).collect();
        assert_eq!(
            names,
            ["gate_proj", "up_proj", "down_proj"]
                .map(|name| format!("model.layers.1.mlp.experts.2.{name}"))
        );
    }
}
