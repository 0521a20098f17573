//! Pruning by a score alone.

use evopress_plugin::{Encoding, LayerTask, PackedWeight, PluginError, Variant};

use crate::{
    finite_weights, mark_lowest, mark_lowest_of_each, pack_sparse_f32, share_of,
    sparsities::Pattern,
};

/// What a variant removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// So many weights, wherever they are.
    Count(u64),
    /// So many of each few consecutive weights of a row.
    Pattern(Pattern),
}

impl Removal {
    /// What a variant of a weight of `rows × columns` removes.
    ///
    /// # Errors
    /// When the variant is not sparse, or does not fit the weight.
    pub fn of(variant: &Variant, rows: usize, columns: usize) -> Result<Self, PluginError> {
        variant.encoding.check(rows as u64, columns as u64)?;
        let Encoding::Sparse { num_values, .. } = variant.encoding else {
            return Err(format!(
                "variant `{}` is to be packed as {:?}, but this method prunes",
                variant.name, variant.encoding
            )
            .into());
        };
        let removed = (rows * columns) as u64 - num_values;
        match Pattern::from_name(&variant.name) {
            None => Ok(Removal::Count(removed)),
            Some(pattern) if columns.is_multiple_of(pattern.of) && (rows * columns / pattern.of * pattern.zeros) as u64 == removed => {
                Ok(Removal::Pattern(pattern))
            }
            Some(_) => Err(format!("variant `{}` is to keep {num_values} of {rows} × {columns} weights, which is another pattern", variant.name).into()),
        }
    }
}

/// The variants of a layer, each without the weights of the lowest scores: of the whole layer, or,
/// if `by_row`, of each row. `score` takes a weight and its column.
///
/// # Errors
/// When a weight is not finite, or a variant is not sparse; the sentence names the layer.
pub fn prune(
    layer: &LayerTask<'_>,
    by_row: bool,
    score: impl Fn(f32, usize) -> f32,
) -> Result<Vec<PackedWeight>, PluginError> {
    let (weights, rows, columns) = finite_weights(layer)?;
    let scores: Vec<f32> = (weights.chunks(columns))
        .flat_map(|row| {
            row.iter()
                .enumerate()
                .map(|(column, &weight)| score(weight, column))
        })
        .collect();
    let mut is_removed = vec![false; weights.len()];
    let variants = layer.variants.iter().map(|variant| {
        let removal = Removal::of(variant, rows, columns)
            .map_err(|error| PluginError::new(format!("layer `{}`: {error}", layer.name)))?;
        match removal {
            Removal::Pattern(pattern) => {
                mark_lowest_of_each(&scores, pattern.zeros, pattern.of, &mut is_removed)
            }
            Removal::Count(count) if !by_row => {
                mark_lowest(&scores, count as usize, &mut is_removed)
            }
            Removal::Count(count) => {
                let of_rows = scores.chunks(columns).zip(is_removed.chunks_mut(columns));
                for (row, (scores, is_removed)) in of_rows.enumerate() {
                    mark_lowest(
                        scores,
                        share_of(count, row as u64, rows as u64) as usize,
                        is_removed,
                    );
                }
            }
        }
        let is_kept: Vec<bool> = is_removed.iter().map(|removed| !removed).collect();
        let Encoding::Sparse { num_values, dtype } = variant.encoding else {
            unreachable!("only a sparse variant has a removal");
        };
        pack_sparse_f32(&weights, &is_kept, columns, num_values, dtype)
    });
    variants.collect()
}
