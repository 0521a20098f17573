use evopress_plugin::Method;

use super::*;
use crate::error::Result;
use crate::fixtures::{
    Bits, Drops, ExpertDrops, FIXED, Sparse, measure, mixture, outline, space, space_over,
};

mod block_edits;
mod experts;
mod refusals;

const BITS: Bits = Bits(&[2, 3, 4, 6]);
const SPARSE: Sparse = Sparse { num_steps: 3 };
/// Weights of a block's layers in the fixtures' model.
const BLOCK: u64 = 16 * 16 * 2 + 8 * 16 * 2 + 48 * 16 * 3;

fn bits(value: f64, grouping: Option<Grouping>) -> Result<SearchSpace> {
    space(
        4,
        &[("gptq", &BITS)],
        &measure("bits_per_weight", value),
        grouping,
    )
}

fn groups(space: &SearchSpace) -> Vec<String> {
    let groups = space.groups().iter();
    groups
        .map(|group| {
            format!(
                "{}: {} of {}",
                group.name,
                group.max_cost,
                group.unit_idxs.len()
            )
        })
        .collect()
}

#[test]
fn groupings() {
    let check = |grouping, expected: &[&str]| {
        assert_eq!(
            groups(&bits(3.0, grouping).unwrap()),
            expected,
            "{grouping:?}"
        );
    };
    let by_size = [
        "256 weights: 6144 of 8",
        "128 weights: 3072 of 8",
        "768 weights: 27648 of 12",
    ];
    check(None, &by_size);
    check(Some(Grouping::Size), &by_size);
    check(
        Some(Grouping::Name),
        &[
            "self_attn.q_proj: 3072 of 4",
            "self_attn.k_proj: 1536 of 4",
            "self_attn.v_proj: 1536 of 4",
            "self_attn.o_proj: 3072 of 4",
            "mlp.gate_proj: 9216 of 4",
            "mlp.up_proj: 9216 of 4",
            "mlp.down_proj: 9216 of 4",
        ],
    );
    check(Some(Grouping::None), &["all: 36864 of 28"]);
    check(Some(Grouping::Tied), &["all: 36864 of 16"]);
    // A model without experts.
    check(Some(Grouping::Expert), &["all: 36864 of 16"]);
}

#[test]
fn experts_share_levels() {
    let units = |grouping| -> Vec<String> {
        let target = measure("bits_per_weight", 3.0);
        let mixture = mixture(2, 3);
        let space = space_over(&mixture, &[("gptq", &BITS)], &target, Some(grouping)).unwrap();
        assert_eq!(space.groups().len(), 1);
        let units = space.units().iter();
        units
            .map(|unit| format!("{} {}", unit.name, unit.layer_idxs.len()))
            .collect()
    };
    let found = units(Grouping::Expert);
    assert_eq!(
        found[..4],
        [
            "model.layers.0.self_attn.o_proj 1",
            "model.layers.0.mlp.experts.0 3",
            "model.layers.0.mlp.experts.1 3",
            "model.layers.0.mlp.experts.2 3",
        ]
    );
    assert_eq!(found.len(), 8);
    assert_eq!(
        units(Grouping::Block),
        [
            "model.layers.0.self_attn.o_proj 1",
            "model.layers.0.mlp.experts 9",
            "model.layers.1.self_attn.o_proj 1",
            "model.layers.1.mlp.experts 9",
        ]
    );
    assert_eq!(
        units(Grouping::Tied)[1],
        "model.layers.0.mlp.experts.0.gate_up 2"
    );
}

#[test]
fn tied_units_share_a_level() {
    let space = bits(3.0, Some(Grouping::Tied)).unwrap();
    let names: Vec<&str> = space
        .units()
        .iter()
        .map(|unit| unit.name.as_str())
        .collect();
    let block = [
        "model.layers.0.self_attn.qkv",
        "model.layers.0.self_attn.o_proj",
        "model.layers.0.mlp.gate_up",
        "model.layers.0.mlp.down_proj",
    ];
    assert_eq!(names[..4], block);
    let qkv = &space.units()[0];
    let levels: Vec<(&str, u64)> = qkv
        .levels
        .iter()
        .map(|l| (l.name.as_str(), l.cost))
        .collect();
    assert_eq!(
        levels,
        [
            ("6bit", 3072),
            ("4bit", 2048),
            ("3bit", 1536),
            ("2bit", 1024)
        ]
    );
    let mut genotype = space.min_cost_genotype();
    genotype.0[0] = 1;
    let weights = space.candidate(&genotype).weights;
    let variants: Vec<u16> = weights[..4]
        .iter()
        .map(|id| id.unwrap().variant_idx)
        .collect();
    assert_eq!(variants, [1, 1, 1, 3]);
    // The database is the one that an untied search reads.
    assert_eq!(space.variants(0), bits(3.0, None).unwrap().variants(0));
}

#[test]
fn ties_of_differing_names_go_by_position() {
    let space = space(
        2,
        &[("sparsegpt", &SPARSE)],
        &measure("sparsity", 0.5),
        Some(Grouping::Tied),
    )
    .unwrap();
    let gate_up = &space.units()[2];
    assert_eq!((gate_up.levels.len(), gate_up.levels[0].cost), (7, 864));
    let mut outline = outline(1);
    outline.layers[1].out_features = 4096;
    let mut units = SPARSE.units(&outline, None).unwrap();
    units.truncate(3);
    let tied = &super::grouping::group(units, &outline, Grouping::Tied)[0];
    let names: Vec<&str> = tied
        .levels
        .iter()
        .map(|level| level.name.as_str())
        .collect();
    assert_eq!(names[2..4], ["0.4375/0.4998/0.4375", "0.5000"]);
    assert_eq!(tied.calibration_level, 3);
}

#[test]
fn variants_are_what_a_database_holds() {
    let space = bits(3.0, None).unwrap();
    let layers = space.variants(0);
    assert_eq!(layers.len(), 28);
    let names: Vec<&str> = layers[5].variants.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["6bit", "4bit", "3bit", "2bit"]);
    assert_eq!((layers[5].layer_idx, layers[5].calibration), (5, Some(2)));
    assert!(space.variants(1).is_empty());
    assert_eq!(space.encodings().len(), 4);
}

#[test]
fn bytes_are_those_of_the_packed_weights() {
    let space = bits(3.0, None).unwrap();
    assert_eq!(space.dense_bytes(), FIXED + 4 * BLOCK * 2);
    let least = space.size_bytes(&space.min_cost_genotype());
    // 2 bits of codes, and for each of the groups of 16 a 16-bit scale and a zero, padded by row: a
    // byte a row for up to 4 groups.
    let rows = 16 + 8 + 8 + 16 + 48 + 48 + 16;
    assert_eq!(least, FIXED + 4 * (BLOCK / 4 + BLOCK / 16 * 2 + rows));
    assert_eq!(space.achieved(&space.min_cost_genotype()), 2.0);
    assert_eq!(space.achieved(&space.uniform().unwrap()), 3.0);
}

#[test]
fn achieved_is_in_the_targets_measure() {
    let sparse = space(4, &[("s", &SPARSE)], &measure("sparsity", 0.5), None).unwrap();
    assert_eq!(sparse.achieved(&sparse.uniform().unwrap()), 0.5);
    let drop = space(4, &[("drop", &Drops)], &measure("drop", 0.25), None).unwrap();
    let genotype = Genotype(vec![1, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(drop.achieved(&genotype), 0.25);
    assert_eq!(drop.uniform(), None);
    let compressed = space(4, &[("s", &SPARSE)], &Budget::Compression(1.4), None).unwrap();
    let dense = compressed.dense_bytes() as f64;
    let max_cost = compressed.max_cost_genotype();
    assert_eq!(
        compressed.achieved(&max_cost),
        dense / compressed.size_bytes(&max_cost) as f64
    );
    assert_eq!(compressed.groups()[0].max_cost, (dense / 1.4) as u64);
}

#[test]
fn methods_that_replace_the_same_layers_share_units() {
    let methods: [(&str, &dyn Method); 3] =
        [("drop", &Drops), ("gptq", &BITS), ("sparsegpt", &SPARSE)];
    let space = space(2, &methods, &Budget::SizeBytes(9000), None).unwrap();
    assert_eq!(space.units().len(), 4 + 14);
    assert!(space.only_drops(0) && space.units()[0].levels.iter().all(|l| l.cost == 0));
    let unit = &space.units()[4 + 4];
    assert_eq!(unit.name, "model.layers.0.mlp.gate_proj");
    let levels: Vec<(&str, u64)> = unit
        .levels
        .iter()
        .map(|l| (l.name.as_str(), l.cost))
        .collect();
    assert_eq!(levels.len(), 11);
    assert_eq!(levels[0], ("sparsegpt:0.4375", 864 + 96));
    assert_eq!(levels[10], ("gptq:2bit", 192 + 96 + 48));
    assert!(
        unit.levels
            .windows(2)
            .all(|pair| pair[0].cost >= pair[1].cost)
    );
    let mut genotype = space.min_cost_genotype();
    genotype.0[..4].copy_from_slice(&[0, 0, 0, 1]);
    let candidate = space.candidate(&genotype);
    assert_eq!(
        candidate.weights[4].map(|id| (id.method_idx, id.variant_idx)),
        Some((1, 3))
    );
    assert!(candidate.dropped.mlp[1] && candidate.weights[11..].iter().all(Option::is_none));
    let described = space.describe(&genotype);
    assert_eq!(described[3].1, "drop");
    assert_eq!(described.last().unwrap().1, "dropped");
    let both = Genotype(space.min_cost_genotype().0);
    assert_eq!(
        space.size_bytes(&both),
        FIXED,
        "a model without blocks is its fixed part"
    );
}

#[test]
fn changes_are_differences_of_costs() {
    let methods: [(&str, &dyn Method); 2] = [("drop", &Drops), ("gptq", &BITS)];
    let space = space(2, &methods, &Budget::SizeBytes(9000), None).unwrap();
    let mut genotype = space.max_cost_genotype();
    genotype.0[1] = 1;
    for idx in 0..space.units().len() {
        for level in 0..space.units()[idx].levels.len() {
            let mut changed = genotype.clone();
            changed.0[idx] = level as u16;
            let difference = space.size_bytes(&changed) as i64 - space.size_bytes(&genotype) as i64;
            assert_eq!(
                space.cost_change(&genotype, idx, level),
                difference,
                "{idx} {level}"
            );
        }
    }
    assert!(
        space.is_idle(&genotype, 4 + 4)
            && !space.is_idle(&genotype, 4)
            && !space.is_idle(&genotype, 1)
    );
}

#[test]
fn uniform_is_the_paper_start_where_it_uses_up_the_budget() {
    let check = |budget: &Budget, grouping, level: Option<&str>, is_exact| {
        let space = space(4, &[("gptq", &BITS)], budget, grouping).unwrap();
        let uniform = space.uniform();
        let levels = uniform.as_ref().map(|uniform| space.describe(uniform));
        if let (Some(levels), Some(level)) = (&levels, level) {
            assert!(levels.iter().all(|(_, found)| found == level), "{levels:?}");
        }
        assert_eq!(uniform.is_some(), level.is_some());
        assert_eq!(space.exact_uniform().is_some(), is_exact);
    };
    let bits = |value| measure("bits_per_weight", value);
    check(&bits(3.0), None, Some("3bit"), true);
    check(&bits(3.01), None, Some("3bit"), true);
    check(&bits(3.5), None, Some("3bit"), false);
    check(&bits(3.02), Some(Grouping::None), Some("3bit"), false);
    check(&Budget::SizeBytes(13_000), None, Some("3bit"), false);
    let sparse = space(
        4,
        &[("s", &SPARSE)],
        &measure("sparsity", 0.5),
        Some(Grouping::None),
    )
    .unwrap();
    assert!(sparse.exact_uniform().is_some());
}
