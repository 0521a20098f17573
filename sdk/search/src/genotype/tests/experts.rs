//! Experts that are dropped, alone and beside bits.

use super::*;
use crate::random::{Purpose, stream};
use crate::search::{mutate, random_genotypes};
use evopress_plugin::Method;

const NUM_BLOCKS: usize = 3;
const NUM_EXPERTS: usize = 8;
/// Bytes of an expert in bf16.
const EXPERT: u64 = 3 * 16 * 32 * 2;

/// A space over three blocks of eight experts, of which a token needs so many.
fn experts(methods: &[(&str, &dyn Method)], budget: &Budget, active: usize) -> Result<SearchSpace> {
    let mixture = mixture(NUM_BLOCKS as u32, NUM_EXPERTS as u32);
    let blocks = BlockExperts {
        num_experts: NUM_EXPERTS,
        num_active: active,
    };
    space_over(&mixture, methods, budget, None)?.with_active_experts(&[blocks; NUM_BLOCKS])
}

#[test]
fn every_block_drops_as_many_experts() {
    let space = experts(&[("drop", &ExpertDrops)], &measure("drop", 0.25), 2).unwrap();
    assert_eq!(groups(&space)[2], "experts of block 2: 6 of 8");
    for genotype in random_genotypes(&space, 0, 20) {
        let dropped = space.dropped(&genotype).experts;
        assert!(dropped.iter().all(|of_block| of_block.len() == 2));
        let dense = space.dense_bytes();
        assert_eq!(space.size_bytes(&genotype), dense - 2 * 3 * EXPERT);
        let candidate = space.candidate(&genotype);
        let layers = &space.outline().layers;
        let is_left_out = |idx: usize| candidate.dropped.contains_layer(&layers[idx]);
        let num_left_out = (0..layers.len()).filter(|&idx| is_left_out(idx)).count();
        assert_eq!(num_left_out, 2 * 3 * 3);
    }
}

#[test]
fn tokens_find_as_many_experts_as_they_need() {
    let methods: [(&str, &dyn Method); 2] = [("drop", &ExpertDrops), ("gptq", &BITS)];
    // Tight enough that many experts go: 17,144 bytes are the least.
    let space = experts(&methods, &Budget::SizeBytes(17_500), 6).unwrap();
    let mut rng = stream(0, 1, Purpose::Initial);
    let mut most = 0;
    for mut genotype in random_genotypes(&space, 0, 10) {
        for _ in 0..30 {
            assert!(space.meets_budget(&genotype));
            let dropped = space.dropped(&genotype).experts;
            let largest = dropped.iter().map(Vec::len).max().unwrap();
            assert!(largest <= 2);
            most = most.max(largest);
            genotype = mutate(&space, &genotype, &mut rng);
        }
    }
    assert_eq!(most, 2, "the limit is reached");
}

#[test]
fn budgets_that_leave_tokens_too_few_experts_are_refused() {
    let drop = |target, active| {
        let refused = experts(&[("drop", &ExpertDrops)], &measure("drop", target), active);
        refused.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(
        drop(0.5, 5).unwrap_err(),
        "the budget leaves 4 of the 8 experts of block 0, and its router sends each token to 5"
    );
    assert_eq!(drop(0.5, 4), Ok(()));
    let methods: [(&str, &dyn Method); 2] = [("drop", &ExpertDrops), ("gptq", &BITS)];
    let bytes = |active| {
        let refused = experts(&methods, &Budget::SizeBytes(FIXED + 5000), active);
        refused.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(bytes(2), Ok(()));
    assert_eq!(
        bytes(7).unwrap_err(),
        "no genotype meets the budget of the run: 10000 bytes asked for, but the cheapest levels come to 19112 bytes (the most costly to 40280 bytes)"
    );
}

#[test]
fn an_expert_whose_layers_share_a_level_and_its_drop_have_names() {
    let methods: [(&str, &dyn Method); 2] = [("gptq", &BITS), ("drop", &ExpertDrops)];
    let mixture = mixture(1, 2);
    let budget = Budget::SizeBytes(FIXED + 3000);
    let space = space_over(&mixture, &methods, &budget, Some(Grouping::Expert)).unwrap();
    let names: Vec<&str> = space.units().iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "model.layers.0.self_attn.o_proj",
            "model.layers.0.mlp.experts.0",
            "model.layers.0.mlp.experts.1",
            "model.layers.0.mlp.experts.0.drop",
            "model.layers.0.mlp.experts.1.drop",
        ]
    );
}
