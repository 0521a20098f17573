//! The method `drop`: sub-blocks, blocks (depth pruning) or experts are kept or left out.
//!
//! In goes the outline of a model with `n` blocks, out come units with the levels `keep` (cost 1)
//! and `drop` (cost 0) and, for a target `drop: r`, the budget `n − k` with `k = ⌊r n⌋` units
//! dropped. The unit and its grouping follow the EvoPress paper's depth pruning (section 4.1 and
//! the reference code's `evo_drop_search.py`); runtimes want equally many experts in each block:
//!
//! | `granularity` | units | groups | dropped |
//! |---|---|---|---|
//! | `sub-block` | attention and MLP of each block | `attention`, `mlp` | `k` of each |
//! | `block` | blocks | `block` | `k` |
//! | `free` | attention and MLP of each block | `sub-block` | `2k` in any ratio |
//! | `expert` | experts | those of each block | `⌊r E⌋` of a block's `E` |

use std::collections::BTreeMap;

use evopress_plugin::{
    BlockPart, Edit, GroupBudget, Info, LayerOutline, Level, Method, ModelOutline, PluginError,
    SubBlock, Unit, export_plugin,
};
use serde::Deserialize;

export_plugin! { method: create, info: info }

/// The plugin's options.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    granularity: Granularity,
}

/// What is dropped as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Granularity {
    #[default]
    SubBlock,
    Block,
    Free,
    Expert,
}

/// The sub-blocks of a block.
const HALVES: [SubBlock; 2] = [SubBlock::Attention, SubBlock::Mlp];

const OPTIONS_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "granularity": {
      "description": "What is dropped as one: attention and MLP sub-blocks, equally many of each (sub-block); whole blocks (block); sub-blocks in any ratio of attention to MLP (free); experts, equally many of each block where the budget is `drop` (expert).",
      "enum": ["sub-block", "block", "free", "expert"],
      "default": "sub-block"
    }
  }
}"#;

fn info() -> Info {
    Info {
        name: "drop".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "Leaves out attention and MLP sub-blocks, whole blocks, or experts."
            .to_owned(),
        options_schema: OPTIONS_SCHEMA.to_owned(),
    }
}

fn create(options: &str) -> Result<Drop, PluginError> {
    let options: Options =
        serde_json::from_str(options).map_err(|error| PluginError::new(error.to_string()))?;
    Ok(Drop {
        granularity: options.granularity,
    })
}

/// Pruning of depth and of experts.
struct Drop {
    granularity: Granularity,
}

impl Method for Drop {
    fn units(&self, model: &ModelOutline, _target: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        if model.num_blocks == 0 {
            return Err("the model has no blocks to drop".into());
        }
        let blocks = 0..model.num_blocks;
        Ok(match self.granularity {
            Granularity::Block => blocks
                .map(|block_idx| block_unit(model, block_idx))
                .collect(),
            Granularity::SubBlock | Granularity::Free => blocks
                .flat_map(|block_idx| HALVES.map(|half| (block_idx, half)))
                .map(|(block_idx, sub_block)| self.sub_block_unit(model, block_idx, sub_block))
                .collect(),
            Granularity::Expert => expert_units(model)?,
        })
    }

    fn measure(&self) -> &str {
        "drop"
    }

    /// `k = ⌊target n⌋` of each group's `n` units are dropped; where attention and MLP share a
    /// group of `2n` units, `2k`.
    fn budget(
        &self,
        _model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        if !(target > 0.0 && target < 1.0) {
            return Err(format!("a drop of {target} is out of range; it is the share of units to leave out, above 0 and below 1").into());
        }
        let mut budgets: Vec<GroupBudget> = Vec::new();
        for unit in units {
            match budgets.iter_mut().find(|budget| budget.group == unit.group) {
                Some(budget) => budget.max_cost += 1,
                None => budgets.push(GroupBudget {
                    group: unit.group.clone(),
                    max_cost: 1,
                }),
            }
        }
        for budget in &mut budgets {
            budget.max_cost -= self.num_dropped(budget, target)?;
        }
        Ok(budgets)
    }
}

impl Drop {
    /// How many units of a group to drop; `all.max_cost` is what all of them together cost.
    fn num_dropped(&self, all: &GroupBudget, target: f64) -> Result<u64, PluginError> {
        // Units that come together: an attention and an MLP where any ratio is allowed.
        let together = if self.granularity == Granularity::Free {
            2
        } else {
            1
        };
        let num_units = all.max_cost / together;
        // 0.29 * 100 is 28.999999999999996: a target that is meant to hit a whole number hits it.
        let num_dropped = (target * num_units as f64 * (1.0 + 1e-12)).floor() as u64;
        let what = match self.granularity {
            Granularity::SubBlock => format!("{} sub-blocks", all.group),
            Granularity::Expert => all.group.clone(),
            Granularity::Block | Granularity::Free => "blocks".to_owned(),
        };
        if num_dropped == 0 {
            // Rounded up, so that the number shown is one that works.
            let least = (1e4 / num_units as f64).ceil() / 1e4;
            return Err(format!("a drop of {target} leaves out none of {num_units} {what}; the smallest that does is {least}").into());
        }
        Ok(num_dropped * together)
    }

    fn sub_block_unit(&self, model: &ModelOutline, block_idx: u32, sub_block: SubBlock) -> Unit {
        let (suffix, group) = match sub_block {
            SubBlock::Attention => ("self_attn", "attention"),
            SubBlock::Mlp => ("mlp", "mlp"),
        };
        let group = if self.granularity == Granularity::Free {
            "sub-block"
        } else {
            group
        };
        let layer_idxs = layer_idxs(model, |layer| {
            layer.block_idx == block_idx && layer.sub_block == sub_block
        });
        unit(
            format!("model.layers.{block_idx}.{suffix}"),
            group,
            block_idx,
            layer_idxs,
            vec![Edit::drop(block_idx, sub_block)],
        )
    }
}

/// The experts of all blocks that have some.
fn expert_units(model: &ModelOutline) -> Result<Vec<Unit>, PluginError> {
    let mut experts: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for (layer_idx, layer) in (0_u32..).zip(&model.layers) {
        if let Some(expert_idx) = layer.expert_idx {
            let layers = experts.entry((layer.block_idx, expert_idx)).or_default();
            layers.push(layer_idx);
        }
    }
    if experts.is_empty() {
        return Err("the model has no experts to drop".into());
    }
    let units = experts
        .into_iter()
        .map(|((block_idx, expert_idx), layer_idxs)| {
            // The names of an expert's layers have the expert's in common.
            let layer = &model.layers[layer_idxs[0] as usize].name;
            let name = layer
                .rsplit_once('.')
                .map_or(layer.as_str(), |(expert, _)| expert);
            let part = BlockPart::Expert { expert_idx };
            unit(
                name.to_owned(),
                &format!("experts of block {block_idx}"),
                block_idx,
                layer_idxs,
                vec![Edit::Drop { block_idx, part }],
            )
        });
    Ok(units.collect())
}

fn block_unit(model: &ModelOutline, block_idx: u32) -> Unit {
    let layer_idxs = layer_idxs(model, |layer| layer.block_idx == block_idx);
    let edits = HALVES.map(|half| Edit::drop(block_idx, half));
    unit(
        format!("model.layers.{block_idx}"),
        "block",
        block_idx,
        layer_idxs,
        edits.to_vec(),
    )
}

fn unit(name: String, group: &str, block_idx: u32, layer_idxs: Vec<u32>, edits: Vec<Edit>) -> Unit {
    let keep = Level {
        name: "keep".to_owned(),
        cost: 1,
        edits: Vec::new(),
    };
    let drop = Level {
        name: "drop".to_owned(),
        cost: 0,
        edits,
    };
    Unit {
        name,
        group: group.to_owned(),
        block_idx,
        layer_idxs,
        levels: vec![keep, drop],
        calibration_level: 0,
    }
}

fn layer_idxs(model: &ModelOutline, is_in: impl Fn(&LayerOutline) -> bool) -> Vec<u32> {
    let layers = (0_u32..).zip(&model.layers);
    layers
        .filter(|(_, layer)| is_in(layer))
        .map(|(idx, _)| idx)
        .collect()
}

#[cfg(test)]
mod tests;
