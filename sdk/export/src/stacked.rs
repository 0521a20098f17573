//! Layers that share a tensor in a file, which has one level.

use std::collections::{BTreeMap, HashMap, HashSet};

use evopress_plugin::{BlockPart, Edit, SubBlock};
use evopress_search::genotype::SearchSpace;
use evopress_source::Source;
use evopress_source::spec::LayerSpec;

use crate::error::{ExportError, Result};

/// Whether layers that share a tensor share a level in all results of a search.
///
/// # Errors
/// The first unit with some of the layers of a tensor and not with all.
pub(crate) fn check(source: &Source, space: &SearchSpace, format: &str) -> Result<()> {
    let of_files = |layer: &LayerSpec| layer.stacked.as_ref().map(|it| it.name.clone());
    check_by(source, space, format, of_files)
}

/// [`check`] of layers that share a tensor where `tensor` gives them the same name within a block.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_by(
    source: &Source,
    space: &SearchSpace,
    format: &str,
    tensor: impl Fn(&LayerSpec) -> Option<String>,
) -> Result<()> {
    let spec = source.spec();
    let mut stacks: BTreeMap<(usize, String), Vec<u32>> = BTreeMap::new();
    for layer in spec.layers() {
        if let Some(name) = tensor(layer.spec) {
            let place = (layer.block_idx, name);
            let layers = stacks.entry(place).or_default();
            layers.push(layer.layer_idx as u32);
        }
    }
    // By layer, the layers that it shares a tensor with.
    let mut shared: HashMap<u32, (&str, &[u32])> = HashMap::new();
    for ((_, name), layers) in &stacks {
        for &layer_idx in layers {
            shared.insert(layer_idx, (name, layers));
        }
    }
    let units = space.units().iter().enumerate();
    // What only drops gives no layer a level.
    for (_, unit) in units.filter(|&(idx, _)| !space.only_drops(idx)) {
        let of_unit: HashSet<u32> = unit.layer_idxs.iter().copied().collect();
        let is_split = |layers: &[u32]| layers.iter().any(|it| !of_unit.contains(it));
        let stacks = unit.layer_idxs.iter().filter_map(|it| shared.get(it));
        let mut split = stacks.filter(|(_, layers)| is_split(layers));
        if let Some((tensor, layers)) = split.next() {
            let first = &space.outline().layers[layers[0] as usize];
            let grouping = match first.expert_idx {
                Some(_) => "block",
                None => "tied",
            };
            return Err(ExportError::Format(format!(
                "format `{format}` has {} layers of this model's blocks in one tensor, `{tensor}`, which has one level: set `search.grouping: {grouping}`, found the unit `{}`",
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
