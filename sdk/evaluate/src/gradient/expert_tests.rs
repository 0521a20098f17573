//! What dropping and restoring experts does, against autograd through the whole model.

use evopress_model::Model;
use evopress_plugin::{BlockPart, Method};
use evopress_search::fixtures::{ExpertDrops, measure, space_over};
use evopress_search::genotype::{BlockEdit, BlockEdits, SearchSpace};
use tch::Kind;

use super::tests::{check_first_order, cross_entropy, flips, plain, predicted};
use crate::small_models::{corpus, open};

/// The slope of the mean loss of three sequences along what an edit makes of its block's MLP.
fn slope(model: &Model, space: &SearchSpace, edits: &BlockEdits<'_>, edit: &BlockEdit) -> f64 {
    let parent = edits.parent();
    let (at, part) = edit.part().unwrap();
    let BlockPart::Expert { expert_idx } = part else {
        panic!("{edit:?} is of no expert");
    };
    let before = parent.dropped.experts[at].clone();
    let after: Vec<u32> = match edit {
        BlockEdit::Drop { .. } => before.iter().copied().chain([expert_idx]).collect(),
        _ => before
            .iter()
            .copied()
            .filter(|&it| it != expert_idx)
            .collect(),
    };
    let corpus = corpus(model.spec().vocab_size, 3);
    let of_sequence = |sequence_idx: usize| {
        let tokens = corpus.sequence(sequence_idx);
        let (kind, length) = (Kind::Float, tokens.len() as i64);
        let share = tch::Tensor::from(0.0_f32)
            .to_device(model.device())
            .set_requires_grad(true);
        let loss = tch::with_grad(|| {
            let mut stream = model.embed(&[tokens]).unwrap().snapshot().unwrap();
            for block_idx in 0..space.num_blocks() {
                let first = model.spec().first_layer(block_idx);
                let weight = |slot: usize| Ok(plain(model, parent, first + slot));
                let attention = model
                    .traced_attention(block_idx, &stream, length, kind, &weight)
                    .unwrap();
                let middle = &stream + attention.added;
                let mlp = |left_out: &[u32]| {
                    let traced = model.traced_mlp(block_idx, &middle, kind, left_out, &weight);
                    traced.unwrap().added
                };
                let added = mlp(&parent.dropped.experts[block_idx]);
                stream = match block_idx == at {
                    true => &middle + &added + &share * (mlp(&after) - &added).detach(),
                    false => &middle + added,
                };
            }
            cross_entropy(model, &model.traced_finish(&stream).unwrap(), tokens)
        });
        loss.backward();
        share.grad().double_value(&[])
    };
    (0..3).map(of_sequence).sum::<f64>() / 3.0
}

#[test]
fn first_order_terms_of_experts_are_the_slopes_of_the_loss() {
    for fixture in ["qwen2-moe", "granitemoe", "olmoe"] {
        let model = open(fixture);
        let outline = model.spec().outline(4);
        let methods: [(&str, &dyn Method); 1] = [("drop", &ExpertDrops)];
        let space = space_over(&outline, &methods, &measure("drop", 0.25), None).unwrap();
        let mut parent = space.max_cost_genotype();
        // Experts of which the last block drops one, so that others can come back.
        *parent.0.last_mut().unwrap() = 1;
        let edits = BlockEdits::new(&space, &parent);
        let changes = flips(&space, &parent);
        let expected: Vec<f64> = changes
            .iter()
            .map(|change| {
                let of_change = edits.of_change(change.unit_idx, change.level);
                assert_eq!(of_change.len(), 1);
                slope(&model, &space, &edits, &of_change[0])
            })
            .collect();
        let largest = expected
            .iter()
            .fold(0.0_f64, |most, slope| most.max(slope.abs()));
        assert!(largest > 0.0);
        let found = predicted(open(fixture), &space, &parent, &changes, true).unwrap();
        check_first_order(&found, &changes, &expected, 1e-3 * largest);
    }
}

/// A token that has but one expert gets nothing where that one goes.
#[test]
fn the_last_expert_can_be_thought_away() {
    let model = open("granitemoe");
    let outline = model.spec().outline(4);
    let methods: [(&str, &dyn Method); 1] = [("drop", &ExpertDrops)];
    let space = space_over(&outline, &methods, &measure("drop", 0.8), None).unwrap();
    let mut parent = space.max_cost_genotype();
    for (level, unit) in parent.0.iter_mut().zip(space.units()) {
        *level = u16::from(!unit.name.ends_with(".0"));
    }
    let changes = flips(&space, &parent);
    let found = predicted(model, &space, &parent, &changes, true).unwrap();
    let gone = changes.iter().position(|change| change.level == 1).unwrap();
    assert!(found.first[gone].0.abs() > 0.0);
    assert!(found.first.iter().all(|(slope, _)| slope.is_finite()));
}
