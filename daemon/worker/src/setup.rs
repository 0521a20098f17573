//! From a plan to what a run works with: the model on disk, the plugins, the search space.

use std::sync::Arc;

use anyhow::Result;
use evopress::export;
use evopress::genotype::{Budget, Grouping, MethodUnits, SearchSpace};
use evopress::search::{self, SelectionStage, Settings, fast};
use evopress::source::Source;
use evopress_plugin::host::PluginDir;
use evopress_plugin::{LayerOutline, Method, ModelOutline};
use evopress_spec::{ArtifactFormat, Dtype, Generations, Ingredient, Plan, PluginUse, Target};

use crate::artifact;

/// A method of a plan, loaded.
pub(crate) struct UsedMethod {
    /// The plugin's name.
    pub(crate) name: String,
    pub(crate) method: Arc<dyn Method>,
}

/// The methods of a plan, in its order.
pub(crate) fn methods(plan: &Plan, plugins: &PluginDir) -> Result<Vec<UsedMethod>> {
    let methods = plan.methods.iter().map(|used| method(used, plugins));
    methods.collect()
}

/// One method of a plan.
pub(crate) fn method(used: &PluginUse, plugins: &PluginDir) -> Result<UsedMethod> {
    Ok(UsedMethod {
        name: used.plugin.clone(),
        method: Arc::from(plugins.method(&used.plugin, &used.options)?),
    })
}

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
    });
    Ok(SearchSpace::new(
        &outline,
        units,
        &budget(plan.target),
        fixed_bytes,
        grouping,
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

/// Why the target of a plan is not one of a method's, if so.
pub(crate) fn wrong_measure(plan: &Plan, method: &UsedMethod) -> Option<String> {
    if plan.target.is_in_bytes() {
        return None;
    }
    let (asked, offered) = (plan.target.measure(), method.method.measure());
    (asked != offered).then(|| {
        format!(
            "found the budget `{asked}`, but method `{}` is budgeted in `{offered}`",
            method.name
        )
    })
}

/// Why an artifact of a plan cannot be written for its model, if so, and which of the plan's artifacts that is.
pub(crate) fn unwritable(plan: &Plan, source: &Source) -> Option<(usize, String)> {
    refused(plan, |format| match format {
        ArtifactFormat::Gguf => export::gguf::check(source),
        ArtifactFormat::NemotronNas => export::nemotron_nas::check(source),
        _ => Ok(()),
    })
}

/// Why the results of a plan have no place in a format that it asks for, if so, and which of its artifacts that is.
pub(crate) fn misplaced(plan: &Plan, space: &SearchSpace) -> Option<(usize, String)> {
    refused(plan, |format| match (format, artifact::packed(format)) {
        (ArtifactFormat::NemotronNas, _) => export::nemotron_nas::check_space(space),
        (_, Some(packed)) => export::packed::check(space, packed),
        _ => Ok(()),
    })
}

/// The first artifact of a plan that `check` refuses.
fn refused(
    plan: &Plan,
    check: impl Fn(ArtifactFormat) -> evopress::Result<()>,
) -> Option<(usize, String)> {
    let mut artifacts = plan.artifacts.iter().enumerate();
    artifacts.find_map(|(idx, artifact)| {
        let error = check(artifact.format).err()?;
        Some((idx, error.to_string()))
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
fn outline(source: &Source, dtype: Dtype) -> ModelOutline {
    source.config().outline(bytes_per_weight(dtype))
}

pub(crate) fn bytes_per_weight(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::Bf16 => 2,
        Dtype::F32 => 4,
    }
}

/// Offspring of a fast search's generation.
const FAST_OFFSPRING: usize = 8;
/// Calibration tokens of a gradient pass, about.
const GRADIENT_TOKENS: u64 = 1024;

/// The settings of a fast search.
pub(crate) fn fast_settings(plan: &Plan) -> fast::Settings {
    let search = &plan.search;
    let length = u64::from(plan.calibration.sequence_length);
    let without = |ingredient| search.without.contains(&ingredient);
    fast::Settings {
        offspring: FAST_OFFSPRING,
        gradient_sequences: (GRADIENT_TOKENS / length).max(1) as usize,
        limit: fast::Limit {
            forward_tokens: search.limit.forward_tokens,
            seconds: search.limit.seconds,
            fitness: search.limit.fitness,
        },
        without: fast::Without {
            gradients: without(Ingredient::Gradients),
            learning: without(Ingredient::Learning),
            racing: without(Ingredient::Racing),
            walks: without(Ingredient::Walks),
            restarts: without(Ingredient::Restarts),
        },
        seed: search.seed,
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
