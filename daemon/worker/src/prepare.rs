//! From a run's folder to what its stages work with: all but the weights is read and checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress::tensor::Interrupted;
use evopress_cache::Cache;
use evopress_core::memory::Granted;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Plan, RunDir, SequenceStart};

use crate::cli::RunOptions;
use crate::compute::{Compute, Machine};
use crate::digests::Digests;
use crate::manifest::Manifest;
use crate::memory::{self, Shortage};
use crate::preflight::{self, Placed, Unsure, WeightScan};
use crate::recorder::Recorder;
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
    recorder: &Recorder,
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
    let granted = wait_for_memory(&needs, machine.granted, recorder, &stop, || {
        Ok(Machine::resolve(&plan.model, &options.resources, plan.limits)?.granted)
    })?;
    let shares = needs.shares(granted.bytes);
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

/// Waits until there is the least memory that a run needs: another run may have it, and end.
///
/// # Errors
/// Where there can never be so much; [`Interrupted`] once the run has been asked to stop.
fn wait_for_memory(
    needs: &memory::Needs,
    mut granted: Granted,
    recorder: &Recorder,
    stop: &AtomicBool,
    now: impl Fn() -> Result<Granted>,
) -> Result<Granted> {
    const PAUSE: Duration = Duration::from_secs(1);
    let mut has_told = false;
    loop {
        match memory::shortage(needs, &granted) {
            None => return Ok(granted),
            Some(Shortage::Never(sentence)) => bail!(sentence),
            Some(Shortage::Now(sentence)) if !has_told => {
                recorder.warn(format!("{sentence}; the run waits for more"));
                has_told = true;
            }
            Some(Shortage::Now(_)) => {}
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        std::thread::sleep(PAUSE);
        granted = now()?;
    }
}

/// All mistakes in one sentence.
fn sentence(mistakes: &[Placed]) -> String {
    let messages: Vec<&str> = mistakes.iter().map(|it| it.message.as_str()).collect();
    messages.join("; ")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use evopress_core::memory::Limit;

    use super::*;

    #[test]
    fn a_run_waits_for_memory_that_another_has() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(&RunDir::new(folder.path())).unwrap();
        let needs = memory::Needs::default();
        let least = needs.least();
        let granted = |bytes: u64, capacity: u64| Granted {
            bytes,
            capacity,
            limit: Limit::Machine,
        };
        let (stop, asked) = (AtomicBool::new(false), Cell::new(0));
        let found = wait_for_memory(&needs, granted(least - 1, least), &recorder, &stop, || {
            asked.set(asked.get() + 1);
            Ok(granted(least - 2 + asked.get(), least))
        });
        assert_eq!((found.unwrap().bytes, asked.get()), (least, 2));
        let warnings = recorder.warnings();
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].ends_with("the run waits for more"),
            "{warnings:?}"
        );
        // A run that is asked to stop does, and what can never be is said at once.
        stop.store(true, Ordering::Relaxed);
        let scarce = granted(0, least);
        let stopped = wait_for_memory(&needs, scarce, &recorder, &stop, || Ok(scarce));
        assert!(stopped.unwrap_err().is::<Interrupted>());
        let never = granted(least - 1, least - 1);
        let refused = wait_for_memory(&needs, never, &recorder, &stop, || Ok(never));
        assert!(refused.unwrap_err().to_string().contains("at least"));
    }
}
