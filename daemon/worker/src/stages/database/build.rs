//! Building a level database in its cache entry.

use std::time::Instant;

use anyhow::Result;
use evopress::genotype::LayerVariants;
use evopress::levels::Build;
use evopress::source::Corpus;
use evopress::source::Source;
use evopress_cache::{Entry, Manifest};
use evopress_plugin::Statistics;
use evopress_spec::Stage;
use serde_json::{Value, json};

use super::inputs::Inputs;
use crate::setup::UsedMethod;
use crate::texts;

/// Builds what is missing of `entry`, which this process holds alone. `made_from` is what the
/// entry's key was made from.
pub(super) fn build(
    inputs: &Inputs<'_>,
    method: &UsedMethod,
    layers: &[LayerVariants],
    entry: &Entry,
    made_from: &Value,
) -> Result<()> {
    let began = Instant::now();
    let outline = inputs.space.outline();
    let length = inputs.text.sequence_length as usize;
    let mut manifest = manifest(inputs.source, method, entry, made_from);
    let seconds_before = manifest.details["build_seconds"].as_f64().unwrap_or(0.0);
    manifest.is_complete = false;
    let corpus = match method.method.statistics() {
        Statistics::None => Corpus::from_tokens(Vec::new(), length),
        _ => texts::database(inputs.text, inputs.source)?,
    };
    let num_tokens = (corpus.num_sequences() * length) as u64;
    warn_of_few_tokens(inputs, method, layers, num_tokens);
    let model = inputs.compute.model(inputs.source, &[], 0)?;
    let engine = inputs.compute.engine(model, length)?;
    let build = Build::new(
        &engine,
        inputs.source,
        outline,
        &method.method,
        layers,
        entry,
        manifest,
    )
    .with_first_token_share(inputs.text.first_token_share)
    .with_tasks_at_once(inputs.compute.shares.tasks as usize);
    let missing = build.num_missing();
    tracing::info!(method = %method.name, missing, "building a level database");
    let limit_bytes = inputs.compute.shares.activations;
    let mut manifest = build.run(&corpus, limit_bytes, |done, total| {
        let (done, total) = (done as u64, total as u64);
        inputs
            .recorder
            .progress(Stage::Database, done, total, "layers");
    })?;
    let seconds = seconds_before + began.elapsed().as_secs_f64();
    manifest.details = json!({"build_seconds": seconds, "tokens": num_tokens});
    manifest.is_complete = true;
    entry.save_manifest(&manifest)?;
    tracing::info!(method = %method.name, seconds, "the level database is complete");
    Ok(())
}

/// The manifest that an earlier build has left, or a new one.
fn manifest(source: &Source, method: &UsedMethod, entry: &Entry, made_from: &Value) -> Manifest {
    let path = source.path();
    let model = path.file_stem().unwrap_or(path.as_os_str());
    let title = format!("{} on {}", method.name, model.to_string_lossy());
    let new = || Manifest::new(entry.kind(), entry.key(), &title, made_from.clone());
    entry.load_manifest().manifest.unwrap_or_else(new)
}

/// A Hessian of fewer tokens than input features does not have full rank.
fn warn_of_few_tokens(
    inputs: &Inputs<'_>,
    method: &UsedMethod,
    layers: &[LayerVariants],
    num_tokens: u64,
) {
    let of_model = &inputs.space.outline().layers;
    let widths = layers
        .iter()
        .map(|layer| of_model[layer.layer_idx as usize].in_features);
    let widest = widths.max().unwrap_or(0);
    if method.method.statistics() == Statistics::Hessian && num_tokens < widest {
        inputs.recorder.warn(format!(
            "method `{}` sees {num_tokens} tokens, fewer than the {widest} input features of the \
             widest layer: give `database.tokens` more",
            method.name
        ));
    }
}
