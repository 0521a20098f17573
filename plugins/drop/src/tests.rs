//! Units, budgets and refusals.

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
    insta::assert_snapshot!(
        budgets(SUB_BLOCK, 30, 0.0),
        @"a drop of 0 is out of range; it is the share of units to leave out, above 0 and below 1"
    );
    insta::assert_snapshot!(
        budgets(SUB_BLOCK, 30, 1.0),
        @"a drop of 1 is out of range; it is the share of units to leave out, above 0 and below 1"
    );
    insta::assert_snapshot!(
        budgets(SUB_BLOCK, 30, f64::NAN),
        @"a drop of NaN is out of range; it is the share of units to leave out, above 0 and below 1"
    );
    insta::assert_snapshot!(
        budgets(SUB_BLOCK, 30, 0.03),
        @"a drop of 0.03 leaves out none of 30 attention sub-blocks; the smallest that does is 0.0334"
    );
    insta::assert_snapshot!(budgets(BLOCK, 3, 0.3), @"a drop of 0.3 leaves out none of 3 blocks; the smallest that does is 0.3334");
    // Even the largest target below 1 keeps a unit of each group.
    assert_eq!(budgets(BLOCK, 3, 0.999), "block 1");
    assert_eq!(budgets(FREE, 3, 0.999), "sub-block 2");
}

#[test]
fn odd_models_and_options_are_refused() {
    insta::assert_snapshot!(method(SUB_BLOCK).units(&model(0), None).unwrap_err(), @"the model has no blocks to drop");
    insta::assert_snapshot!(
        create(r#"{"granularity": "layer"}"#).map(|_| ()).unwrap_err(),
        @"unknown variant `layer`, expected one of `sub-block`, `block`, `free`, `expert` at line 1 column 23"
    );
    insta::assert_snapshot!(
        create(r#"{"grain": 1}"#).map(|_| ()).unwrap_err(),
        @"unknown field `grain`, expected `granularity` at line 1 column 8"
    );
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

/// Two blocks of experts; the first has a dense MLP beside them.
fn mixture(num_experts: u32) -> ModelOutline {
    let mut model = model(2);
    for block_idx in 0..2 {
        for expert_idx in 0..num_experts {
            for (place, name) in (0..).zip(["gate_proj", "up_proj", "down_proj"]) {
                model.layers.push(LayerOutline {
                    name: format!("model.layers.{block_idx}.mlp.experts.{expert_idx}.{name}"),
                    block_idx,
                    sub_block: SubBlock::Mlp,
                    expert_idx: Some(expert_idx),
                    input_idx: 100 + 2 * expert_idx + place / 2,
                    out_features: 8,
                    in_features: 8,
                    has_bias: false,
                });
            }
        }
    }
    model
}

#[test]
fn experts_are_units_of_their_blocks() {
    let expert = method(r#"{"granularity": "expert"}"#);
    let model = mixture(4);
    let units = expert.units(&model, None).unwrap();
    assert_eq!(units.len(), 8);
    let unit = &units[5];
    assert_eq!(unit.name, "model.layers.1.mlp.experts.1");
    assert_eq!(unit.layer_idxs.len(), 3);
    let part = BlockPart::Expert { expert_idx: 1 };
    assert_eq!(unit.levels[1].edits, [Edit::Drop { block_idx: 1, part }]);
    let of = |target| {
        let budgets = expert.budget(&model, &units, target)?;
        let shown = budgets
            .iter()
            .map(|it| format!("{}: {}", it.group, it.max_cost));
        Ok::<_, PluginError>(shown.collect::<Vec<_>>())
    };
    let expected = ["experts of block 0: 3", "experts of block 1: 3"];
    assert_eq!(of(0.3).unwrap(), expected);
    insta::assert_snapshot!(of(0.2).unwrap_err(), @"a drop of 0.2 leaves out none of 4 experts of block 0; the smallest that does is 0.25");
    insta::assert_snapshot!(expert.units(&self::model(2), None).unwrap_err(), @"the model has no experts to drop");
}
