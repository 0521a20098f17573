//! What only the plugins and the model's own files can tell about a plan, before it runs.

mod estimate;
mod levels;
mod memory;

use anyhow::{Context, Result};
use evopress_cache::Cache;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Delivered, Plan, SequenceStart};
use serde::Serialize;

use self::estimate::Needs;
use crate::cli::CheckOptions;
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
    let needs = match (&found.source, &found.searched) {
        (Some(source), Some((methods, space))) => {
            let threads = options.threads;
            Some(Needs::estimate(&plan, source, (methods, space), threads))
        }
        _ => None,
    };
    let delivered = match &found.source {
        Some(source) => setup::delivered(source)?,
        None => None,
    };
    Ok(Answer {
        mistakes: found.mistakes,
        warnings: found.warnings,
        sequences: found.sequences,
        needs,
        delivered,
    })
}
