//! Level databases: found in the cache, or built there, and held while the run uses them.
//!
//! In: the methods' units and levels, the model, the text that methods see. Out: an open database
//! for each method.

mod build;
mod entry;
mod inputs;
mod key;
mod open;

use std::sync::Arc;

use anyhow::Result;
use evopress::genotype::LayerVariants;
use evopress::levels::Database;
use evopress_cache::Guard;
use evopress_spec::{DatabaseResult, Stage};

use crate::setup::UsedMethod;

pub(crate) use inputs::Inputs;
pub(crate) use open::Databases;

/// The kind of the cache's entries.
const KIND: &str = "levels";

/// Finds or builds a database for each method. It is a stage only where a method has levels that
/// need one.
pub(crate) fn run(inputs: &Inputs<'_>) -> Result<Databases> {
    let num_methods = inputs.methods.len();
    let layers: Vec<_> = (0..num_methods)
        .map(|method_idx| inputs.space.variants(method_idx))
        .collect();
    if layers.iter().all(|layers| layers.is_empty()) {
        return all(inputs, &layers);
    }
    inputs
        .recorder
        .stage_that_may_be_reused(Stage::Database, || {
            let databases = all(inputs, &layers)?;
            let reused = databases.results.iter().all(|result| result.reused);
            Ok((databases, reused))
        })
}

/// The databases of all methods; `layers` are the compressed layers of each.
fn all(inputs: &Inputs<'_>, layers: &[&[LayerVariants]]) -> Result<Databases> {
    let mut databases = Databases::default();
    for (method, layers) in inputs.methods.iter().zip(layers) {
        if layers.is_empty() {
            let empty = Database::open(inputs.cache.root(), inputs.space.outline(), &[])?;
            databases.open.push(Arc::new(empty));
            continue;
        }
        let (database, result, held) = one(inputs, method, layers)?;
        databases.open.push(Arc::new(database));
        databases.results.push(result);
        databases.held.push(held);
    }
    Ok(databases)
}

/// The database of one method, with what the report says of it.
fn one(
    inputs: &Inputs<'_>,
    method: &UsedMethod,
    layers: &[LayerVariants],
) -> Result<(Database, DatabaseResult, Guard)> {
    let outline = inputs.space.outline();
    let made_from = key::inputs(inputs, method, layers)?;
    let key = key::digest(&made_from);
    let entry = inputs.cache.entry(KIND, &key)?;
    let ready = entry::ready(&entry, inputs.compute, inputs.recorder, || {
        build::build(inputs, method, layers, &entry, &made_from)
    })?;
    entry.touch()?;
    let details = &ready.manifest.details;
    let files = ready.manifest.files.values();
    let database = Database::open(entry.path(), outline, layers)?;
    let experts_without_tokens = database.num_experts_without_tokens(outline);
    if experts_without_tokens > 0 {
        inputs.recorder.warn(format!(
            "method `{}`: no calibration token went to {experts_without_tokens} experts, which were \
             compressed by their weights alone: use more calibration text",
            method.name
        ));
    }
    let result = DatabaseResult {
        method: method.name.clone(),
        key,
        bytes: files.map(|file| file.bytes).sum(),
        build_seconds: details["build_seconds"].as_f64().unwrap_or(0.0),
        reused: ready.reused,
        tokens: details["tokens"].as_u64().unwrap_or(0),
        experts_without_tokens,
    };
    Ok((database, result, ready.held))
}
