//! Packed bytes of the model that a genotype stands for. They do not add up over units: a layer of a dropped sub-block takes none,
//! whatever its own level.

use evopress_plugin::{Edit, LayerOutline, Level, ModelOutline, Unit};

use super::Genotype;

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
        let mut changed = vec![Vec::new(); units.len()];
        for (unit_idx, unit) in units.iter().enumerate() {
            for (layer_idx, layer) in outline.layers.iter().enumerate() {
                let drops: Vec<bool> = unit.levels.iter().map(|l| drops(l, layer)).collect();
                let bytes: Vec<Option<u64>> = unit
                    .levels
                    .iter()
                    .map(|level| replaced_bytes(level, layer_idx, layer))
                    .collect();
                let is_dropped = drops.contains(&true);
                let is_replaced = bytes.iter().any(Option::is_some);
                let size = &mut layers[layer_idx];
                if is_dropped {
                    size.dropped.push((unit_idx, drops));
                }
                if is_replaced {
                    let or_dense = |bytes: Option<u64>| bytes.unwrap_or(size.dense);
                    size.replaced = Some((unit_idx, bytes.into_iter().map(or_dense).collect()));
                }
                if is_dropped || is_replaced {
                    changed[unit_idx].push(layer_idx);
                }
            }
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

    /// Whether everything that a unit changes is dropped by other units, so that its level makes no difference.
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
