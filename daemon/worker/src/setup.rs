//! From a plan to what a run works with: the model on disk, the plugins, the search space.

use std::sync::Arc;

use anyhow::Result;
use evopress::genotype::{Budget, MethodUnits, SearchSpace};
use evopress::search::{self, SelectionStage, Settings};
use evopress::source::Source;
use evopress_plugin::host::PluginDir;
use evopress_plugin::{LayerOutline, Method, ModelOutline, SubBlock};
use evopress_spec::{Dtype, Generations, Plan, Target};

/// The units and budgets that a plan's methods give for a model.
pub(crate) fn search_space(
    plan: &Plan,
    plugins: &PluginDir,
    source: &Source,
) -> Result<SearchSpace> {
    let outline = outline(source, plan.model.dtype);
    let budget = budget(plan.target);
    let mut methods = Vec::with_capacity(plan.methods.len());
    for used in &plan.methods {
        methods.push((&used.plugin, plugins.method(&used.plugin, &used.options)?));
    }
    let mut units = Vec::with_capacity(methods.len());
    for (name, method) in &methods {
        units.push(MethodUnits::of(*name, method.as_ref(), &outline, &budget)?);
    }
    let in_layers: u64 = outline.layers.iter().map(LayerOutline::num_weights).sum();
    let fixed_bytes =
        (source.num_parameters() - in_layers) * u64::from(bytes_per_weight(plan.model.dtype));
    Ok(SearchSpace::new(
        &outline,
        &units,
        &budget,
        fixed_bytes,
        None,
    )?)
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

/// Why the target of a plan is not one of its method's, if so.
pub(crate) fn wrong_measure(plan: &Plan, method: &dyn Method) -> Option<String> {
    if let Target::SizeBytes(_) | Target::Compression(_) = plan.target {
        return None;
    }
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
            Generations::Paper => search::paper_generations(space),
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
