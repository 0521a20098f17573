//! What only the plugins and the model's own files can tell about a plan, before it runs.

mod estimate;

use anyhow::{Context, Result};
use evopress_cache::Cache;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Delivered, Plan, SequenceStart};
use serde::Serialize;

use self::estimate::Needs;
use crate::cli::CheckOptions;
use crate::compute::Machine;
use crate::memory::{self, Shortage};
use crate::preflight::{self, Placed, Unsure, WeightScan};
use crate::setup;

/// The answer: mistakes, warnings, how sequences begin, and what the run would need if there are no
/// mistakes.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    mistakes: Vec<Placed>,
    warnings: Vec<Placed>,
    sequences: Vec<SequenceStart>,
    needs: Option<Needs>,
    /// How the model's weights came, where they were quantized already.
    delivered: Option<Delivered>,
}

/// Checks the plan in `options.plan`.
pub(crate) fn check(options: &CheckOptions) -> Result<Answer> {
    let text = std::fs::read(&options.plan).with_context(|| options.plan.display().to_string())?;
    let plan: Plan =
        serde_json::from_slice(&text).with_context(|| options.plan.display().to_string())?;
    let plugins = PluginDir::open(&options.plugins)?;
    let unsure = Unsure::new(options.unsure.clone());
    let cache = options.cache.as_deref().map(Cache::at);
    let found = preflight::examine(
        &plan,
        &plugins,
        WeightScan::for_a_while(cache.as_ref()),
        &unsure,
    );
    let (mut mistakes, mut warnings) = (found.mistakes, found.warnings);
    let mut needs = None;
    if let (Some(source), Some((methods, space))) = (&found.source, &found.searched) {
        let machine = Machine::resolve(&plan.model, &options.resources, plan.limits)?;
        let memory = memory::count(&plan, source, space, methods, machine.threads);
        let peak = memory.peak(&memory.shares(machine.granted.bytes));
        let peak = (&peak, memory.least());
        needs = Some(Needs::estimate(&plan, source, space, &machine, peak));
        match memory::shortage(&memory, &machine.granted) {
            Some(Shortage::Never(sentence)) => mistakes.push(Placed::new("/model", sentence)),
            // Another run may end, so that it is no mistake.
            Some(Shortage::Now(sentence)) => warnings.push(Placed::new("/model", sentence)),
            None => {}
        }
    }
    let delivered = match &found.source {
        Some(source) => setup::delivered(source)?,
        None => None,
    };
    Ok(Answer {
        mistakes,
        warnings,
        sequences: found.sequences,
        needs,
        delivered,
    })
}
