//! Packed bytes of the model that a genotype stands for. They do not add up over units: a layer of
//! a dropped sub-block takes none, whatever its own level. Memory and time are linear in units and
//! levels.

use std::collections::{BTreeSet, HashMap};

use evopress_plugin::{Edit, LayerOutline, Level, ModelOutline, Unit};

use super::candidate::Genotype;

/// Bytes of every layer at every level of the units that change it.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    /// What no level changes: embeddings, norms, head.
    fixed: u64,
    layers: Vec<LayerSize>,
    /// By unit: the layers that any of its levels changes.
    changed: Vec<Vec<usize>>,
}

#[derive(Debug, Clone)]
struct LayerSize {
    dense: u64,
    /// The unit that replaces the weight, and the bytes by its level.
    replaced: Option<(usize, Vec<u64>)>,
    /// Units that drop the layer's sub-block, and by level whether they do.
    dropped: Vec<(usize, Vec<bool>)>,
}

impl Sizes {
    /// No two of `units` replace the same layer.
    pub(super) fn new(outline: &ModelOutline, units: &[Unit], fixed: u64) -> Self {
        let mut layers: Vec<LayerSize> = outline
            .layers
            .iter()
            .map(|layer| LayerSize {
                dense: dense_bytes(outline, layer),
                replaced: None,
                dropped: Vec::new(),
            })
            .collect();
        let mut by_block: HashMap<u32, Vec<usize>> = HashMap::new();
        for (layer_idx, layer) in outline.layers.iter().enumerate() {
            by_block.entry(layer.block_idx).or_default().push(layer_idx);
        }
        let mut changed = Vec::with_capacity(units.len());
        for (unit_idx, unit) in units.iter().enumerate() {
            let layer_idxs = touched(unit, outline, &by_block);
            for &layer_idx in &layer_idxs {
                let layer = &outline.layers[layer_idx];
                let size = &mut layers[layer_idx];
                let drops: Vec<bool> = unit.levels.iter().map(|l| drops(l, layer)).collect();
                if drops.contains(&true) {
                    size.dropped.push((unit_idx, drops));
                }
                let bytes = |level: &Level| replaced_bytes(level, layer_idx, layer);
                if unit.levels.iter().any(|level| bytes(level).is_some()) {
                    let or_dense = |level: &Level| bytes(level).unwrap_or(size.dense);
                    size.replaced = Some((unit_idx, unit.levels.iter().map(or_dense).collect()));
                }
            }
            changed.push(layer_idxs);
        }
        Self {
            fixed,
            layers,
            changed,
        }
    }

    /// Bytes of the whole model.
    pub(super) fn total(&self, genotype: &Genotype) -> u64 {
        let layers = self.layers.iter();
        let layers: u64 = layers
            .map(|layer| layer.bytes(|unit_idx| genotype.level(unit_idx)))
            .sum();
        self.fixed + layers
    }

    /// Bytes of the whole dense model.
    pub(super) fn dense(&self) -> u64 {
        self.fixed + self.layers.iter().map(|layer| layer.dense).sum::<u64>()
    }

    /// What [`Self::total`] grows by when one unit gets another level.
    pub(super) fn change(&self, genotype: &Genotype, unit_idx: usize, level: usize) -> i64 {
        let after = |idx: usize| match idx == unit_idx {
            true => level,
            false => genotype.level(idx),
        };
        self.changed[unit_idx]
            .iter()
            .map(|&layer_idx| {
                let layer = &self.layers[layer_idx];
                layer.bytes(after) as i64 - layer.bytes(|idx| genotype.level(idx)) as i64
            })
            .sum()
    }

    /// Units that change a layer which a unit changes too, the unit itself among them.
    pub(super) fn units_with_shared_layers(&self, unit_idx: usize) -> Vec<usize> {
        let layers = self.changed[unit_idx].iter().map(|&idx| &self.layers[idx]);
        let units: BTreeSet<usize> = layers
            .flat_map(|layer| {
                let dropped = layer.dropped.iter().map(|(by, _)| *by);
                dropped.chain(layer.replaced.as_ref().map(|(by, _)| *by))
            })
            .chain([unit_idx])
            .collect();
        units.into_iter().collect()
    }

    /// Whether everything that a unit changes is dropped by other units, so that its level makes no
    /// difference.
    pub(super) fn is_idle(&self, genotype: &Genotype, unit_idx: usize) -> bool {
        let changed = &self.changed[unit_idx];
        let by_others = |&layer_idx: &usize| {
            self.layers[layer_idx]
                .dropped
                .iter()
                .any(|(by, drops)| *by != unit_idx && drops[genotype.level(*by)])
        };
        !changed.is_empty() && changed.iter().all(by_others)
    }

    /// Bytes of a unit's layers at each of its levels, where nothing else drops them.
    pub(super) fn of_levels(outline: &ModelOutline, unit: &Unit) -> Vec<u64> {
        let of_level = |level: &Level| {
            let layers = unit.layer_idxs.iter().map(|&idx| idx as usize);
            layers
                .map(|idx| {
                    let layer = &outline.layers[idx];
                    match drops(level, layer) {
                        true => 0,
                        false => replaced_bytes(level, idx, layer)
                            .unwrap_or_else(|| dense_bytes(outline, layer)),
                    }
                })
                .sum()
        };
        unit.levels.iter().map(of_level).collect()
    }
}

impl LayerSize {
    fn bytes(&self, level: impl Fn(usize) -> usize) -> u64 {
        if self.dropped.iter().any(|(by, drops)| drops[level(*by)]) {
            return 0;
        }
        match &self.replaced {
            Some((by, bytes)) => bytes[level(*by)],
            None => self.dense,
        }
    }
}

/// The layers that any level of a unit changes, in order.
fn touched(unit: &Unit, outline: &ModelOutline, by_block: &HashMap<u32, Vec<usize>>) -> Vec<usize> {
    let mut touched = BTreeSet::new();
    for edit in unit.levels.iter().flat_map(|level| &level.edits) {
        match edit {
            Edit::Replace { layer_idx, .. } => {
                touched.insert(*layer_idx as usize);
            }
            Edit::Drop { block_idx, .. } => {
                let layers = by_block.get(block_idx).into_iter().flatten().copied();
                touched.extend(layers.filter(|&idx| edit.drops(&outline.layers[idx])));
            }
            _ => {}
        }
    }
    touched.into_iter().collect()
}

fn dense_bytes(outline: &ModelOutline, layer: &LayerOutline) -> u64 {
    layer.num_weights() * u64::from(outline.bytes_per_weight)
}

fn drops(level: &Level, layer: &LayerOutline) -> bool {
    level.edits.iter().any(|edit| edit.drops(layer))
}

fn replaced_bytes(level: &Level, layer_idx: usize, layer: &LayerOutline) -> Option<u64> {
    level.edits.iter().find_map(|edit| match edit {
        Edit::Replace {
            layer_idx: replaced,
            variant,
        } if *replaced as usize == layer_idx => Some(
            variant
                .encoding
                .size_bytes(layer.out_features, layer.in_features),
        ),
        _ => None,
    })
}
