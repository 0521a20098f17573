use evopress_plugin::{SubBlock, check_units, conformance::llama_outline};
use proptest::prelude::*;

use super::*;
use crate::sparsity_budget;

fn layer(out_features: u64, in_features: u64) -> LayerOutline {
    LayerOutline {
        name: "l".to_owned(),
        block_idx: 0,
        sub_block: SubBlock::Mlp,
        expert_idx: None,
        input_idx: 0,
        out_features,
        in_features,
        has_bias: false,
    }
}

fn show(units: &[Unit], idx: usize) -> String {
    let levels = units[idx]
        .levels
        .iter()
        .map(|level| format!("{} {}", level.name, level.cost));
    format!(
        "{}: {} @{}",
        units[idx].name,
        levels.collect::<Vec<_>>().join(", "),
        units[idx].calibration_level
    )
}

#[test]
fn steps_are_of_equally_many_weights_and_small_layers_take_parts_of_one() {
    let model = llama_outline(2);
    let units = SparsityOptions::default().units(&model, Some(0.5)).unwrap();
    check_units(&units, &model).unwrap();
    insta::assert_snapshot!([0, 1, 4].map(|idx| show(&units, idx)).join("\n"), @"
model.layers.0.self_attn.q_proj: 0.1221 3596, 0.2480 3080, 0.3740 2564, 0.5000 2048, 0.6260 1532, 0.7520 1016, 0.8779 500 @3
model.layers.0.self_attn.k_proj: 0.1221 1798, 0.2480 1540, 0.3740 1282, 0.5000 1024, 0.6260 766, 0.7520 508, 0.8779 250 @3
model.layers.0.mlp.gate_proj: 0.3488 6668, 0.3992 6152, 0.4496 5636, 0.5000 5120, 0.5504 4604, 0.6008 4088, 0.6512 3572 @3
");
}

#[test]
fn shares_and_patterns_are_the_same_for_every_layer() {
    let model = llama_outline(2);
    let shares = SparsityOptions {
        sparsities: Some(vec![0.5, 0.0, 0.75]),
        ..SparsityOptions::default()
    };
    insta::assert_snapshot!(
        show(&shares.units(&model, Some(0.7)).unwrap(), 4),
        @"model.layers.0.mlp.gate_proj: 0.0000 10240, 0.5000 5120, 0.7500 2560 @2"
    );
    let patterns = SparsityOptions {
        patterns: Some(vec!["2:4".to_owned(), "2:8".to_owned()]),
        ..SparsityOptions::default()
    };
    insta::assert_snapshot!(show(&patterns.units(&model, None).unwrap(), 1), @"model.layers.0.self_attn.k_proj: 2of8 1536, 2of4 1024 @1");
    assert_eq!(
        Pattern::from_name("2of8"),
        Some(Pattern { zeros: 2, of: 8 })
    );
    assert_eq!(Pattern::from_name("0.5000"), None);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let options = |sparsities: &[f64]| SparsityOptions {
        sparsities: Some(sparsities.to_vec()),
        ..SparsityOptions::default()
    };
    let patterns = |patterns: &[&str]| SparsityOptions {
        patterns: Some(patterns.iter().map(|p| (*p).to_owned()).collect()),
        ..SparsityOptions::default()
    };
    let refuse = |options: SparsityOptions| options.checked().unwrap_err().message;
    insta::assert_snapshot!(refuse(options(&[0.5])), @"`sparsities` leaves nothing to choose; at least two are needed, found 1");
    insta::assert_snapshot!(refuse(options(&[0.5, 0.5])), @"`sparsities`: two of them remove equally many weights");
    insta::assert_snapshot!(refuse(options(&[0.5, 1.0])), @"`sparsities`: found 1; allowed are shares from 0 up to, but not including, 1");
    insta::assert_snapshot!(refuse(patterns(&["2:4", "4:8"])), @"`patterns`: two of them remove equally many weights");
    insta::assert_snapshot!(
        refuse(patterns(&["2:4", "4:2"])),
        @"`patterns`: found `4:2`; expected n:m with n zeros of m weights, n below m and m up to 64"
    );
    let units = |options: SparsityOptions| {
        options
            .checked()
            .unwrap()
            .units(&llama_outline(2), None)
            .unwrap_err()
            .message
    };
    insta::assert_snapshot!(
        units(SparsityOptions::default()),
        @"nothing says around which sparsity the levels are to be: give `around` or `sparsities`, or a target between 0 and 1 in this method's measure"
    );
    insta::assert_snapshot!(
        units(patterns(&["2:48", "2:4"])),
        @"`patterns`: 2:48 needs input features in multiples of 48, which those of 14 of 14 layers are not: `model.layers.0.self_attn.q_proj`, `model.layers.0.self_attn.k_proj`, `model.layers.0.self_attn.v_proj` and 11 more"
    );
    insta::assert_snapshot!(
        units(options(&[0.5001, 0.5002])),
        @"layer `model.layers.0.self_attn.q_proj`: 4096 weights are too few to tell the sparsities [0.5001, 0.5002] apart"
    );
    insta::assert_snapshot!(
        units(SparsityOptions { around: Some(0.0001), ..SparsityOptions::default() }),
        @"layer `model.layers.0.self_attn.q_proj`: 4096 weights are too few for 3 levels to each side of a sparsity of 0.0001"
    );
}

#[test]
fn budgets_are_kept_weights() {
    let model = llama_outline(2);
    let units = SparsityOptions {
        around: Some(0.5),
        ..SparsityOptions::default()
    }
    .units(&model, None)
    .unwrap();
    let num_weights: u64 = model.layers.iter().map(LayerOutline::num_weights).sum();
    let budget = |target| match sparsity_budget(&model, &units, target) {
        Ok(budgets) => budgets
            .iter()
            .map(|budget| budget.max_cost.to_string())
            .collect(),
        Err(error) => error.message,
    };
    assert_eq!(budget(0.5), (num_weights / 2).to_string());
    insta::assert_snapshot!(budget(0.95), @"a sparsity of 0.95 is out of range; the levels allow more than 0.284 and at most 0.716");
    insta::assert_snapshot!(budget(0.1), @"a sparsity of 0.1 is out of range; the levels allow more than 0.284 and at most 0.716");
    insta::assert_snapshot!(budget(f64::NAN), @"a sparsity of NaN is out of range; the levels allow more than 0.284 and at most 0.716");
}

proptest! {
    /// Every layer has all its levels, evenly spaced, within the layer; and steps are whole parts
    /// of the one asked for.
    #[test]
    fn every_layer_has_its_full_range(rows in 1_u64..200, columns in 8_u64..200, around in 0.05..0.95, step in 1_u64..3000, num_steps in 1_u64..5) {
        let layer = layer(rows, columns);
        let step = step * STEP_UNIT;
        if let Ok(removed) = steps(&layer, around, step, num_steps) {
            prop_assert_eq!(removed.len() as u64, 2 * num_steps + 1);
            prop_assert_eq!(removed[num_steps as usize], removed_at(&layer, around));
            prop_assert!(*removed.last().unwrap() < layer.num_weights());
            let taken = removed[1] - removed[0];
            prop_assert!(taken > 0 && removed.windows(2).all(|pair| pair[1] - pair[0] == taken));
            // The least part of the step that fits.
            let centre = removed[num_steps as usize];
            let room = centre.min(layer.num_weights() - 1 - centre);
            let fitting = (1..).map(|part| step / part).find(|step| step * num_steps <= room);
            prop_assert_eq!(Some(taken), fitting);
        }
    }

    /// Layers at their share meet the budget of any group of them, with less than a weight each to
    /// spare.
    #[test]
    fn the_centre_meets_the_budget(around in 0.01..0.99, num_blocks in 1_u32..4) {
        let model = llama_outline(num_blocks);
        let kept: u64 = model.layers.iter().map(|layer| layer.num_weights() - removed_at(layer, around)).sum();
        let num_weights: u64 = model.layers.iter().map(LayerOutline::num_weights).sum();
        let budget = (num_weights as f64 * (1.0 - around) + 1e-6).floor() as u64;
        prop_assert!(kept <= budget && kept + model.layers.len() as u64 >= budget, "{kept} of {budget}");
    }
}
