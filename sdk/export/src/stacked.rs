//! Layers that share a tensor in a file, which has one level.

use std::collections::{BTreeMap, HashSet};

use evopress_plugin::{BlockPart, Edit, SubBlock};
use evopress_search::genotype::SearchSpace;
use evopress_source::Source;

use crate::error::{ExportError, Result};

/// Whether layers that share a tensor share a level in all results of a search.
///
/// # Errors
/// The first unit with some of the layers of a tensor and not with all.
pub(crate) fn check(source: &Source, space: &SearchSpace, format: &str) -> Result<()> {
    let spec = source.spec();
    let mut stacks: BTreeMap<(usize, &str), Vec<u32>> = BTreeMap::new();
    for layer in spec.layers() {
        if let Some(stacked) = &layer.spec.stacked {
            let place = (layer.block_idx, stacked.name.as_str());
            stacks
                .entry(place)
                .or_default()
                .push(layer.layer_idx as u32);
        }
    }
    for unit in space.units() {
        let of_unit: HashSet<u32> = unit.layer_idxs.iter().copied().collect();
        let is_split = |layers: &&Vec<u32>| {
            let inside = layers.iter().filter(|it| of_unit.contains(it)).count();
            inside != 0 && inside != layers.len()
        };
        let split = stacks.iter().find(|(_, layers)| is_split(layers));
        if let Some(((_, tensor), layers)) = split {
            return Err(ExportError::Format(format!(
                "format `{format}` has {} layers of this model's blocks in one tensor, `{tensor}`, which has one level: set `search.grouping: tied`, found the unit `{}`",
                layers.len(),
                unit.name
            )));
        }
    }
    Ok(())
}

/// Whether results of a search may go without whole blocks.
pub(crate) fn may_lose_blocks(space: &SearchSpace) -> bool {
    let mut droppable: HashSet<(u32, SubBlock)> = HashSet::new();
    let levels = space.units().iter().flat_map(|unit| &unit.levels);
    for edit in levels.flat_map(|level| &level.edits) {
        if let Edit::Drop { block_idx, part } = *edit {
            let half = match part {
                BlockPart::Attention => SubBlock::Attention,
                BlockPart::Mlp => SubBlock::Mlp,
                _ => continue,
            };
            droppable.insert((block_idx, half));
        }
    }
    let has_other = |&(block_idx, half): &(u32, SubBlock)| {
        half == SubBlock::Attention && droppable.contains(&(block_idx, SubBlock::Mlp))
    };
    droppable.iter().any(has_other)
}
