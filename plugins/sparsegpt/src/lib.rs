//! The method `sparsegpt`: every linear layer pruned column by column, later columns taking over
//! the errors of earlier ones, at several sparsities.
//!
//! In go a layer's weight and the second moment of its inputs, out come masks and the kept weights,
//! which are no longer the original ones. One factor of the second moment and one sweep serve all
//! layers that share inputs and all their levels. README.md has the options, formulas and sources.

mod compress;
mod removing;
#[cfg(test)]
mod tests;

use evopress_layerwise::{SparsityOptions, options_schema, parse_options, sparsity_budget};
use evopress_plugin::{
    CompressTask, GroupBudget, Info, Method, ModelOutline, PackedWeight, PluginError, Statistics,
    Unit, export_plugin,
};
use serde::Deserialize;
use serde_json::json;

export_plugin! { method: create, info: info }

/// The plugin's options.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    sparsities: Option<Vec<f64>>,
    patterns: Option<Vec<String>>,
    around: Option<f64>,
    step_weights: Option<u64>,
    num_steps: Option<u64>,
    block_size: usize,
    damping: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sparsities: None,
            patterns: None,
            around: None,
            step_weights: None,
            num_steps: None,
            block_size: 128,
            damping: 0.01,
        }
    }
}

fn info() -> Info {
    let own = [
        (
            "block_size",
            json!({
                "description": "Columns whose removed weights are chosen together, as many of each block as of the whole layer. Patterns choose within themselves.",
                "type": "integer", "minimum": 1, "default": 128
            }),
        ),
        (
            "damping",
            json!({
                "description": "What is added to the second moment's diagonal, as a share of its mean.",
                "type": "number", "minimum": 0, "maximum": 1, "default": 0.01
            }),
        ),
    ];
    Info {
        name: "sparsegpt".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description:
            "Pruning with error compensation (SparseGPT), each layer at one of several sparsities."
                .to_owned(),
        options_schema: options_schema(SparsityOptions::schema().into_iter().chain(own)),
    }
}

fn create(options: &str) -> Result<SparseGpt, PluginError> {
    let options: Options = parse_options(options)?;
    if !(0.0..=1.0).contains(&options.damping) {
        let found = options.damping;
        return Err(format!("`damping`: found {found}; allowed are values from 0 to 1").into());
    }
    if options.block_size == 0 {
        return Err("`block_size`: found 0; the smallest allowed value is 1".into());
    }
    let levels = SparsityOptions {
        sparsities: options.sparsities,
        patterns: options.patterns,
        around: options.around,
        step_weights: options.step_weights,
        num_steps: options.num_steps,
    };
    Ok(SparseGpt {
        levels: levels.checked()?,
        block_size: options.block_size,
        damping: options.damping,
    })
}

/// SparseGPT.
struct SparseGpt {
    levels: SparsityOptions,
    block_size: usize,
    damping: f64,
}

impl Method for SparseGpt {
    fn units(&self, model: &ModelOutline, target: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        self.levels.units(model, target)
    }

    fn measure(&self) -> &str {
        "sparsity"
    }

    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        sparsity_budget(model, units, target)
    }

    fn statistics(&self) -> Statistics {
        Statistics::Hessian
    }

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        tch::no_grad(|| compress::compress(task, self.damping, self.block_size))
    }
}
