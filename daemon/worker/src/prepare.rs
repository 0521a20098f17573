//! From a run's folder to what its stages work with: all but the weights is read and checked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_cache::Cache;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Plan, RunDir, SequenceStart};

use crate::cli::RunOptions;
use crate::compute::{Compute, Machine};
use crate::digests::Digests;
use crate::manifest::Manifest;
use crate::memory::{self, Shortage};
use crate::preflight::{self, Placed, Unsure, WeightScan};
use crate::setup::{UsedFitness, UsedMethod};

/// A plan with what it names.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) source: Arc<Source>,
    pub(crate) methods: Vec<UsedMethod>,
    pub(crate) fitness: UsedFitness,
    pub(crate) space: SearchSpace,
    pub(crate) compute: Compute,
    /// What runs share.
    pub(crate) cache: Cache,
    pub(crate) digests: Digests,
    pub(crate) manifest: Manifest,
    /// How the sequences of each text begin.
    pub(crate) sequences: Vec<SequenceStart>,
    /// What the user should know of the inputs.
    pub(crate) warnings: Vec<String>,
}

/// Reads the plan and opens what it names; then writes the run's manifest.
///
/// # Errors
/// A plan that this machine, the model or a plugin cannot serve, as one sentence.
pub(crate) fn prepare(
    options: &RunOptions,
    dir: &RunDir,
    stop: Arc<AtomicBool>,
) -> Result<Prepared> {
    let path = dir.plan();
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let plan: Plan = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let machine = Machine::resolve(&plan.model, &options.resources, plan.limits)?;
    let model = plan.model.location.path();
    model.context("the model of the plan is not fetched yet")?;
    let plugins = PluginDir::open(&options.plugins)?;
    let cache = Cache::open(&options.cache())?;
    let found = preflight::examine(
        &plan,
        &plugins,
        WeightScan::to_the_end(&cache),
        &Unsure::default(),
    );
    let (Some(source), Some((methods, space)), []) =
        (found.source, found.searched, &found.mistakes[..])
    else {
        bail!(sentence(&found.mistakes));
    };
    let source = Arc::new(source);
    let needs = memory::count(&plan, &source, &space, &methods, machine.threads);
    if let Some(Shortage::Never(sentence) | Shortage::Now(sentence)) =
        memory::shortage(&needs, &machine.granted)
    {
        bail!(sentence);
    }
    let shares = needs.shares(machine.granted.bytes);
    tracing::info!(?needs, ?shares, "memory");
    let compute = Compute::new(&machine, &plan.model, shares, stop)?;
    let fitness = UsedFitness::find(&plan.search.fitness, plugins)?;
    let digests = Digests::read(&plan, &source, &cache.digests())?;
    let spec = std::fs::read(dir.spec()).unwrap_or_default();
    let manifest = Manifest::new(
        dir.id(),
        &spec,
        &plan,
        &digests,
        &methods,
        &fitness,
        &compute,
    )?;
    evopress_core::atomic_write(&dir.manifest(), &serde_json::to_vec_pretty(&manifest)?)?;
    Ok(Prepared {
        plan,
        source,
        methods,
        fitness,
        space,
        compute,
        cache,
        digests,
        manifest,
        sequences: found.sequences,
        warnings: found.warnings.into_iter().map(|it| it.message).collect(),
    })
}

/// All mistakes in one sentence.
fn sentence(mistakes: &[Placed]) -> String {
    let messages: Vec<&str> = mistakes.iter().map(|it| it.message.as_str()).collect();
    messages.join("; ")
}
