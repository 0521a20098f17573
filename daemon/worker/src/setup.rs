//! From a plan to what a run works with: the model on disk, the plugins, the search space.

use std::sync::Arc;

use anyhow::{Result, bail};
use evopress::genotype::SearchSpace;
use evopress::search::{SelectionStage, Settings};
use evopress::source::Source;
use evopress_plugin::host::PluginDir;
use evopress_plugin::{LayerOutline, Method, ModelOutline, SubBlock};
use evopress_spec::{Dtype, Generations, Plan};

/// The method of a plan, and the units and budgets it gives for a model.
pub(crate) fn search_space(
    plan: &Plan,
    plugins: &PluginDir,
    source: &Source,
) -> Result<SearchSpace> {
    let [used] = plan.methods.as_slice() else {
        bail!(
            "a pipeline takes one method in this version, found {}",
            plan.methods.len()
        );
    };
    let method = plugins.method(&used.plugin, &used.options)?;
    if let Some(sentence) = wrong_measure(plan, method.as_ref()) {
        bail!(sentence);
    }
    let outline = outline(source, plan.model.dtype);
    let units = method.units(&outline, Some(plan.target.value()))?;
    let budgets = method.budget(&outline, &units, plan.target.value())?;
    Ok(SearchSpace::new(
        source.config().num_blocks,
        units,
        &budgets,
    )?)
}

/// Why the target of a plan is not one of its method's, if so.
pub(crate) fn wrong_measure(plan: &Plan, method: &dyn Method) -> Option<String> {
    let (asked, offered) = (plan.target.measure(), method.measure());
    (asked != offered).then(|| {
        format!(
            "found the budget `{asked}`, but method `{}` is budgeted in `{offered}`",
            plan.methods[0].plugin
        )
    })
}

/// The fitness of a plan.
pub(crate) fn fitness(
    plan: &Plan,
    plugins: &PluginDir,
) -> Result<Arc<dyn evopress_plugin::Fitness>> {
    let used = &plan.search.fitness;
    Ok(Arc::from(plugins.fitness(&used.plugin, &used.options)?))
}

/// What a method sees of a model.
pub(crate) fn outline(source: &Source, dtype: Dtype) -> ModelOutline {
    let config = source.config();
    let (hidden, mlp) = (config.hidden_size as u64, config.intermediate_size as u64);
    let queries = (config.num_heads * config.head_dim) as u64;
    let keys = (config.num_kv_heads * config.head_dim) as u64;
    let shapes = [
        ("self_attn.q_proj", SubBlock::Attention, queries, hidden),
        ("self_attn.k_proj", SubBlock::Attention, keys, hidden),
        ("self_attn.v_proj", SubBlock::Attention, keys, hidden),
        ("self_attn.o_proj", SubBlock::Attention, hidden, queries),
        ("mlp.gate_proj", SubBlock::Mlp, mlp, hidden),
        ("mlp.up_proj", SubBlock::Mlp, mlp, hidden),
        ("mlp.down_proj", SubBlock::Mlp, hidden, mlp),
    ];
    let layers = (0..config.num_blocks as u32).flat_map(|block_idx| {
        shapes.map(
            |(layer, sub_block, out_features, in_features)| LayerOutline {
                name: format!("model.layers.{block_idx}.{layer}"),
                block_idx,
                sub_block,
                out_features,
                in_features,
            },
        )
    });
    ModelOutline {
        num_blocks: config.num_blocks as u32,
        layers: layers.collect(),
        bytes_per_weight: bytes_per_weight(dtype),
    }
}

pub(crate) fn bytes_per_weight(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::Bf16 => 2,
        Dtype::F32 => 4,
    }
}

/// The search's settings in sequences rather than tokens.
pub(crate) fn search_settings(plan: &Plan, space: &SearchSpace) -> Settings {
    let length = u64::from(plan.calibration.sequence_length);
    let sequences = |tokens: u64| tokens.div_ceil(length).max(1) as usize;
    let search = &plan.search;
    Settings {
        generations: match search.generations {
            Generations::Fixed(count) => count,
            Generations::Paper => paper_generations(space),
        },
        offspring: search.offspring as usize,
        initial_genotypes: search.initial.genotypes as usize,
        initial_sequences: sequences(search.initial.tokens),
        stages: search
            .stages
            .iter()
            .map(|stage| SelectionStage {
                num_sequences: sequences(stage.tokens),
                survivors: stage.survivors as usize,
            })
            .collect(),
        seed: search.seed,
    }
}

/// The paper's number of generations for dropping k of n: `k (n − k) / 1.5`, for the largest group of units.
fn paper_generations(space: &SearchSpace) -> u32 {
    let of_group = |group: &evopress::genotype::Group| {
        let (num_units, num_kept) = (group.unit_idxs.len() as f64, group.max_cost as f64);
        (num_kept * (num_units - num_kept) / 1.5) as u32
    };
    space
        .groups()
        .iter()
        .map(of_group)
        .max()
        .unwrap_or(0)
        .max(1)
}
