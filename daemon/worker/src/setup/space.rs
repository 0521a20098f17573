//! The search space of a plan: the methods' units and levels under the budget.

use anyhow::Result;
use evopress::genotype::{BlockExperts, Budget, Grouping, MethodUnits, SearchSpace};
use evopress::source::Source;
use evopress_plugin::{LayerOutline, ModelOutline};
use evopress_spec::{Dtype, Plan, Target};

use super::used_plugins::UsedMethod;

/// The units of a method for a plan's model and target.
pub(crate) fn units<'a>(
    plan: &Plan,
    method: &'a UsedMethod,
    source: &Source,
) -> Result<MethodUnits<'a>> {
    Ok(MethodUnits::of(
        &method.name,
        method.method.as_ref(),
        &outline(source, plan.model.dtype),
        &budget(plan.target),
    )?)
}

/// What the methods' units come to under the plan's budget.
pub(crate) fn search_space(
    plan: &Plan,
    units: &[MethodUnits<'_>],
    source: &Source,
) -> Result<SearchSpace> {
    let outline = outline(source, plan.model.dtype);
    let in_layers: u64 = outline.layers.iter().map(LayerOutline::num_weights).sum();
    let fixed_bytes =
        (source.num_parameters() - in_layers) * u64::from(bytes_per_weight(plan.model.dtype));
    let grouping = plan.search.grouping.map(|grouping| match grouping {
        evopress_spec::Grouping::Size => Grouping::Size,
        evopress_spec::Grouping::Name => Grouping::Name,
        evopress_spec::Grouping::None => Grouping::None,
        evopress_spec::Grouping::Tied => Grouping::Tied,
        evopress_spec::Grouping::Expert => Grouping::Expert,
        evopress_spec::Grouping::Block => Grouping::Block,
    });
    let budget = budget(plan.target);
    let space = SearchSpace::new(&outline, units, &budget, fixed_bytes, grouping)?;
    let blocks = source.spec().blocks.iter().map(|block| {
        let experts = block.experts();
        experts.map_or(BlockExperts::default(), |experts| BlockExperts {
            num_experts: experts.num_experts as usize,
            num_active: experts.num_active as usize,
        })
    });
    Ok(space.with_active_experts(&blocks.collect::<Vec<_>>())?)
}

/// A plan's target as the engine takes it.
fn budget(target: Target) -> Budget {
    match target {
        Target::SizeBytes(bytes) => Budget::SizeBytes(bytes),
        Target::Compression(ratio) => Budget::Compression(ratio),
        Target::Drop(value) | Target::Sparsity(value) | Target::BitsPerWeight(value) => {
            Budget::Measure {
                name: target.measure().to_owned(),
                value,
            }
        }
    }
}

/// What a method sees of a model.
fn outline(source: &Source, dtype: Dtype) -> ModelOutline {
    source.spec().outline(bytes_per_weight(dtype))
}

/// Bytes of a weight that is not compressed.
pub(crate) fn bytes_per_weight(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::Bf16 => 2,
        Dtype::F32 => 4,
    }
}
