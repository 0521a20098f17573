//! The method `kquant`: every linear layer in one of llama.cpp's own formats, block for block as a
//! GGUF file has them.
//!
//! In go a layer's weight and statistics of its inputs, out come rows of ggml's blocks. Scales,
//! minima and codes have the least squared error weighted by what an error of each column costs;
//! with error feedback later columns take over the errors of earlier ones as in GPTQ. README.md has
//! the options and formulas.

mod alone;
mod blocks;
mod feedback;
mod fit;
mod format;
mod grid;
mod importance;
mod layout;
mod options;
mod rows;
mod super_blocks;
#[cfg(test)]
mod tests;

use evopress_layerwise::{bits_budget, options_schema, parse_options};
use evopress_plugin::{
    CompressTask, GroupBudget, Info, Method, ModelOutline, PackedWeight, PluginError, Statistics,
    Unit, export_plugin,
};
use options::{Importance, Options};

export_plugin! { method: create, info: info }

fn info() -> Info {
    Info {
        name: "kquant".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description:
            "Quantization to llama.cpp's own formats (Q2_K to Q6_K, Q4_0 to Q8_0, IQ4), each layer in one of several."
                .to_owned(),
        options_schema: options_schema(Options::schema()),
    }
}

fn create(options: &str) -> Result<KQuant, PluginError> {
    let options: Options = parse_options(options)?;
    Ok(KQuant {
        options: options.checked()?,
    })
}

/// Quantization to ggml's blocks.
struct KQuant {
    options: Options,
}

impl Method for KQuant {
    fn units(&self, model: &ModelOutline, _target: Option<f64>) -> Result<Vec<Unit>, PluginError> {
        self.options.units(model)
    }

    fn measure(&self) -> &str {
        "bits_per_weight"
    }

    fn budget(
        &self,
        model: &ModelOutline,
        units: &[Unit],
        target: f64,
    ) -> Result<Vec<GroupBudget>, PluginError> {
        bits_budget(model, units, target)
    }

    fn statistics(&self) -> Statistics {
        match self.options.importance() {
            _ if self.options.error_feedback => Statistics::Hessian,
            Importance::None => Statistics::None,
            _ => Statistics::InputNorms,
        }
    }

    fn compress(&self, task: &CompressTask<'_>) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
        let (weighting, damping) = (self.options.importance(), self.options.damping);
        tch::no_grad(|| match self.options.error_feedback {
            true => feedback::compress(task, damping, weighting),
            false => alone::compress(task, weighting),
        })
    }
}
