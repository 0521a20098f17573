//! Rows of a weight, block by block.

use evopress_plugin::GgmlType;

use crate::format::Format;
use crate::grid::Grid;
use crate::{blocks, super_blocks};

/// The grid of a block with the least `Σ v (x − x̂)²`, as far as a search finds it.
pub(crate) fn fit_block(format: &Format, weights: &[f32], importance: &[f32]) -> Grid {
    match format.ggml_type {
        GgmlType::Q2_0 | GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 | GgmlType::Iq4Nl => {
            blocks::symmetric(format, weights, importance)
        }
        GgmlType::Q4_1 | GgmlType::Q5_1 => blocks::affine(format, weights, importance),
        GgmlType::Q3K | GgmlType::Q6K | GgmlType::Iq4Xs => {
            super_blocks::symmetric(format, weights, importance)
        }
        _ => super_blocks::affine(format, weights, importance),
    }
}

/// The grids of a row's blocks, each fitted for itself.
pub(crate) fn fit_row(format: &Format, weights: &[f32], importance: &[f32]) -> Vec<Grid> {
    let blocks = weights
        .chunks(format.len)
        .zip(importance.chunks(format.len));
    blocks.map(|(x, v)| fit_block(format, x, v)).collect()
}

/// The values of a row's blocks that are nearest to its weights.
pub(crate) fn nearest_row(format: &Format, grids: &[Grid], weights: &[f32]) -> Vec<f32> {
    let range = format.range();
    let groups = weights.chunks(format.group_len).enumerate();
    let values = groups.flat_map(|(at, group)| {
        let of_block = format.num_groups();
        let values = format.values(&grids[at / of_block], at % of_block);
        group.iter().map(move |x| values.of(values.code(*x, range)))
    });
    values.collect()
}
