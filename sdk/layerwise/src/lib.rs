//! What methods that compress the linear layers one by one share.
//!
//! In goes the outline of a model and a method's options, out come units (one per linear layer),
//! their levels and the groups' budgets; and from a layer's weights come grids, masks and packed
//! parts. The levels follow the EvoPress paper, section 4: bit widths for quantization
//! ([`WidthOptions`]), equal numbers of weights for sparsity ([`SparsityOptions`]).

mod budget;
mod grid;
mod mask;
mod pack;
mod prune;
mod schema;
mod sparsities;
mod units;
mod widths;

pub use budget::{bits_budget, sparsity_budget};
pub use grid::{Grid, MAX_SCALE, MIN_SCALE, highest_code};
pub use mask::{mark_lowest, mark_lowest_of_each, share_of};
pub use pack::{pack_quantized, pack_sparse_f32};
pub use prune::{Removal, prune};
pub use schema::options_schema;
pub use sparsities::{Pattern, SparsityOptions};
pub use units::{LayerLevel, layer_units};
pub use widths::{GroupSize, WidthOptions, quantized};

use evopress_plugin::{CompressTask, LayerTask, PluginError};

/// Options from their JSON text.
///
/// # Errors
/// What does not fit, and where.
pub fn parse_options<T: serde::de::DeserializeOwned>(options: &str) -> Result<T, PluginError> {
    serde_json::from_str(options).map_err(|error| PluginError::new(error.to_string()))
}

/// Names of a task's layers for a sentence: the first three, and how many more there are.
pub fn layer_names(task: &CompressTask<'_>) -> String {
    let names: Vec<&str> = task.layers.iter().map(|layer| layer.name).collect();
    some_of(&names)
}

/// The weights of a layer in main memory, row after row, which all have to be finite.
///
/// # Errors
/// When they are elsewhere, no matrix, or not finite; the sentence names the layer.
pub fn finite_weights(layer: &LayerTask<'_>) -> Result<(Vec<f32>, usize, usize), PluginError> {
    let in_layer = |error: &dyn std::fmt::Display| {
        PluginError::new(format!("layer `{}`: {error}", layer.name))
    };
    let (rows, columns) = layer
        .weight
        .matrix_shape()
        .map_err(|error| in_layer(&error))?;
    let weights = layer
        .weight
        .to_f32_vec()
        .map_err(|error| in_layer(&error))?;
    if rows == 0 || columns == 0 {
        return Err(in_layer(&format!("a weight of {rows} × {columns}")));
    }
    if !weights.iter().all(|weight| weight.is_finite()) {
        return Err(in_layer(&"a weight is not finite"));
    }
    Ok((weights, rows, columns))
}

/// Up to three names, and how many more there are.
pub fn some_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .take(3)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len().checked_sub(3) {
        None | Some(0) => quoted.join(", "),
        Some(more) => format!("{} and {more} more", quoted.join(", ")),
    }
}
