//! The method `drop`: whole sub-blocks or blocks are kept or left out (depth pruning).
//!
//! In goes the outline of a model with `n` blocks, out come units with the levels `keep` (cost 1)
//! and `drop` (cost 0) and, for a target `drop: r`, the budget `n − k` with `k = ⌊r n⌋` units
//! dropped. The unit and its grouping follow the EvoPress paper's depth pruning (section 4.1 and
//! the reference code's `evo_drop_search.py`):
//!
//! | `granularity` | units | groups | dropped |
//! |---|---|---|---|
//! | `sub-block` | attention and MLP of each block | `attention`, `mlp` | `k` of each |
//! | `block` | blocks | `block` | `k` |
//! | `free` | attention and MLP of each block | `sub-block` | `2k` in any ratio |

use evopress_plugin::{
    Edit, GroupBudget, Info, LayerOutline, Level, Method, ModelOutline, PluginError, SubBlock,
    Unit, export_plugin,
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
}

/// The sub-blocks of a block.
const HALVES: [SubBlock; 2] = [SubBlock::Attention, SubBlock::Mlp];

const OPTIONS_SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "granularity": {
      "description": "What is dropped as one: attention and MLP sub-blocks, equally many of each (sub-block); whole blocks (block); sub-blocks in any ratio of attention to MLP (free).",
      "enum": ["sub-block", "block", "free"],
      "default": "sub-block"
    }
  }
}"#;

fn info() -> Info {
    Info {
        name: "drop".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "Depth pruning: leaves out attention and MLP sub-blocks, or whole blocks."
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

/// Depth pruning.
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
mod tests {
    use super::*;

    fn model(num_blocks: u32) -> ModelOutline {
        let of_block = [
            ("self_attn.q_proj", SubBlock::Attention, 8, 8),
            ("self_attn.o_proj", SubBlock::Attention, 8, 8),
            ("mlp.up_proj", SubBlock::Mlp, 32, 8),
            ("mlp.down_proj", SubBlock::Mlp, 8, 32),
        ];
        let layers = (0..num_blocks).flat_map(|block_idx| {
            (0..).zip(of_block).map(
                move |(input, (name, sub_block, out_features, in_features))| LayerOutline {
                    name: format!("model.layers.{block_idx}.{name}"),
                    block_idx,
                    sub_block,
                    expert_idx: None,
                    input_idx: block_idx * of_block.len() as u32 + input,
                    out_features,
                    in_features,
                    has_bias: false,
                },
            )
        });
        ModelOutline {
            num_blocks,
            layers: layers.collect(),
            bytes_per_weight: 2,
        }
    }

    fn method(options: &str) -> Drop {
        create(options).unwrap()
    }

    fn budgets(options: &str, num_blocks: u32, target: f64) -> String {
        let method = method(options);
        let units = method.units(&model(num_blocks), None).unwrap();
        match method.budget(&model(num_blocks), &units, target) {
            Ok(budgets) => budgets
                .iter()
                .map(|b| format!("{} {}", b.group, b.max_cost))
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => error.message,
        }
    }

    const SUB_BLOCK: &str = "{}";
    const BLOCK: &str = r#"{"granularity": "block"}"#;
    const FREE: &str = r#"{"granularity": "free"}"#;

    #[test]
    fn sub_blocks_are_units_of_two_groups() {
        let units = method(SUB_BLOCK).units(&model(3), None).unwrap();
        let names: Vec<_> = units
            .iter()
            .map(|unit| format!("{} {}", unit.name, unit.group))
            .collect();
        assert_eq!(
            names[..2],
            [
                "model.layers.0.self_attn attention",
                "model.layers.0.mlp mlp"
            ]
        );
        assert_eq!(units.len(), 6);
        let levels = &units[3].levels;
        assert_eq!((levels[0].name.as_str(), levels[0].cost), ("keep", 1));
        assert_eq!((levels[1].name.as_str(), levels[1].cost), ("drop", 0));
        assert_eq!(levels[1].edits, [Edit::drop(1, SubBlock::Mlp)]);
        assert_eq!(units[2].layer_idxs, [4, 5]);
    }

    #[test]
    fn blocks_drop_both_halves() {
        let units = method(BLOCK).units(&model(3), None).unwrap();
        assert_eq!(units.len(), 3);
        assert_eq!(
            (units[2].name.as_str(), units[2].group.as_str()),
            ("model.layers.2", "block")
        );
        assert_eq!(units[2].layer_idxs, [8, 9, 10, 11]);
        let both = HALVES.map(|half| Edit::drop(2, half));
        assert_eq!(units[2].levels[1].edits, both);
    }

    #[test]
    fn free_sub_blocks_share_a_group() {
        let units = method(FREE).units(&model(3), None).unwrap();
        assert_eq!(units.len(), 6);
        assert!(units.iter().all(|unit| unit.group == "sub-block"));
    }

    #[test]
    fn budgets_follow_the_paper() {
        // SmolLM2 has 30 blocks: 25 % are 7.5, so 7 of each kind go.
        assert_eq!(budgets(SUB_BLOCK, 30, 0.25), "attention 23, mlp 23");
        assert_eq!(budgets(BLOCK, 30, 0.25), "block 23");
        assert_eq!(budgets(FREE, 30, 0.25), "sub-block 46");
        assert_eq!(budgets(SUB_BLOCK, 32, 0.125), "attention 28, mlp 28");
        // Whole numbers are hit although the product falls short of them in binary.
        assert_eq!(budgets(BLOCK, 100, 0.29), "block 71");
        assert_eq!(budgets(BLOCK, 10, 0.3), "block 7");
        assert_eq!(budgets(BLOCK, 30, 7.0 / 30.0), "block 23");
    }

    #[test]
    fn targets_that_leave_no_choice_are_refused() {
        insta::assert_snapshot!(budgets(SUB_BLOCK, 30, 0.0), @"a drop of 0 is out of range; it is the share of units to leave out, above 0 and below 1");
        insta::assert_snapshot!(budgets(SUB_BLOCK, 30, 1.0), @"a drop of 1 is out of range; it is the share of units to leave out, above 0 and below 1");
        insta::assert_snapshot!(budgets(SUB_BLOCK, 30, f64::NAN), @"a drop of NaN is out of range; it is the share of units to leave out, above 0 and below 1");
        insta::assert_snapshot!(budgets(SUB_BLOCK, 30, 0.03), @"a drop of 0.03 leaves out none of 30 attention sub-blocks; the smallest that does is 0.0334");
        insta::assert_snapshot!(budgets(BLOCK, 3, 0.3), @"a drop of 0.3 leaves out none of 3 blocks; the smallest that does is 0.3334");
        // Even the largest target below 1 keeps a unit of each group.
        assert_eq!(budgets(BLOCK, 3, 0.999), "block 1");
        assert_eq!(budgets(FREE, 3, 0.999), "sub-block 2");
    }

    #[test]
    fn odd_models_and_options_are_refused() {
        insta::assert_snapshot!(method(SUB_BLOCK).units(&model(0), None).unwrap_err(), @"the model has no blocks to drop");
        insta::assert_snapshot!(create(r#"{"granularity": "layer"}"#).map(|_| ()).unwrap_err(), @"unknown variant `layer`, expected one of `sub-block`, `block`, `free` at line 1 column 23");
        insta::assert_snapshot!(create(r#"{"grain": 1}"#).map(|_| ()).unwrap_err(), @"unknown field `grain`, expected `granularity` at line 1 column 8");
    }

    #[test]
    fn schema_and_options_agree() {
        let schema: serde_json::Value = serde_json::from_str(OPTIONS_SCHEMA).unwrap();
        for granularity in schema["properties"]["granularity"]["enum"]
            .as_array()
            .unwrap()
        {
            create(&serde_json::json!({ "granularity": granularity }).to_string()).unwrap();
        }
        assert_eq!(schema["properties"]["granularity"]["default"], "sub-block");
        assert_eq!(method("{}").granularity, Granularity::SubBlock);
    }
}
