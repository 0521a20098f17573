//! Blocks whose columns take over the errors of the columns before them, as in GPTQ.
//!
//! When the sweep enters a block its grids are fitted to the weights as they are by then, in all rows; then its columns are rounded to these
//! grids one after another. Legend: K columns, B blocks of a row, G groups of a block, R rows of all pairs of a batch.

use std::ops::Range;

use evopress_layerwise::layer_names;
use evopress_obs::{Batch, Factor, Order, Path, Rule, Span, pack_batches, sweep};
use evopress_plugin::{CompressTask, GgmlType, OwnedTensor, PackedWeight, PluginError};
use evopress_plugin_tch::to_plugin_error;
use tch::{Device, TchError, Tensor};

use crate::grid::{Format, Grid, Values};
use crate::{Importance, ggml_type_in, importance, layout, norms};

/// All variants of all layers.
pub(crate) fn compress(
    task: &CompressTask<'_>,
    damping: f64,
    weighting: Importance,
) -> Result<Vec<Vec<PackedWeight>>, PluginError> {
    let names = layer_names(task);
    let hessian = task
        .hessian
        .as_ref()
        .ok_or_else(|| format!("{names}: there is no second moment of the inputs"))?;
    let mut factor = Factor::new(hessian, damping, Order::Natural, &names)?;
    // Grids are fitted in plain Rust.
    factor.spread = (factor.spread.f_to_device(Device::Cpu)).map_err(|it| to_plugin_error(&it))?;
    let num_columns = factor.num_columns();
    let importance = match weighting {
        Importance::Residual => importance(factor.importance.iter().map(|it| f64::from(*it))),
        Importance::InputNorms => {
            importance(norms(task)?.iter().map(|norm| f64::from(*norm).powi(2)))
        }
        Importance::None => vec![1.0; num_columns],
    };
    let mut types: Vec<Vec<GgmlType>> = Vec::new();
    for layer in &task.layers {
        let variants = layer.variants.iter();
        let of_layer = variants.map(|variant| ggml_type_in(layer, variant, num_columns));
        types.push(of_layer.collect::<Result<_, _>>()?);
    }
    pack_batches(
        task,
        &factor,
        |layer_idx, variant_idx| types[layer_idx][variant_idx],
        |batch, ggml_type| quantize(batch, &factor, Format::of(ggml_type), &importance),
    )
}

/// The blocks of each pair. The batch's weights become what the blocks say.
pub(crate) fn quantize(
    batch: &Batch,
    factor: &Factor,
    format: Format,
    importance: &[f32],
) -> Result<Vec<PackedWeight>, PluginError> {
    let torch = |error: TchError| to_plugin_error(&error);
    let num_columns = importance.len();
    let num_rows = batch.weights.size2().map_err(torch)?.1 as usize;
    let mut rounding = Rounding::new(format, importance, num_rows);
    sweep(Path::Slices, &batch.weights, factor, &mut rounding)?;
    let weights = rows(&batch.weights).map_err(torch)?;
    let row_bytes = format.ggml_type.size_bytes(num_columns as u64) as usize;
    let of_pairs = batch.pairs.iter().map(|pair| {
        let mut packed = Vec::with_capacity(pair.rows.len() * row_bytes);
        for row in pair.rows.clone() {
            let blocks = weights[row * num_columns..][..num_columns].chunks(format.len);
            for (block, weights) in blocks.enumerate() {
                let grid = &rounding.grids_br[block * num_rows + row];
                layout::push(&format, grid, &format.codes(grid, weights), &mut packed);
            }
        }
        let shape = [pair.rows.len() as i64, row_bytes as i64];
        Ok(PackedWeight {
            parts: vec![OwnedTensor::from_vec(packed, &shape)?],
        })
    });
    of_pairs.collect()
}

/// `[columns, rows]` as numbers, row after row.
fn rows(weights: &Tensor) -> Result<Vec<f32>, TchError> {
    Vec::try_from(&weights.f_t_copy()?.f_flatten(0, -1)?)
}

/// Columns rounded to their blocks' grids.
struct Rounding<'a> {
    format: Format,
    importance: &'a [f32],
    num_rows: usize,
    /// Grids of the blocks that were entered.
    grids_br: Vec<Grid>,
    /// Values of the block that each row is in.
    values_gr: Vec<Values>,
}

impl<'a> Rounding<'a> {
    fn new(format: Format, importance: &'a [f32], num_rows: usize) -> Self {
        let grid = Grid::new(0.0, 0.0);
        let num_blocks = importance.len() / format.len;
        Self {
            format,
            importance,
            num_rows,
            grids_br: vec![grid; num_blocks * num_rows],
            values_gr: vec![grid.values(0); format.num_groups() * num_rows],
        }
    }
}

impl Rule for Rounding<'_> {
    fn span(&self) -> Span {
        Span {
            columns: self.format.len,
            needs_all_rows: false,
        }
    }

    fn enter(
        &mut self,
        columns: Range<usize>,
        of_rows: Range<usize>,
        weights: &Tensor,
    ) -> Result<(), TchError> {
        let weights = rows(weights)?;
        let importance = &self.importance[columns.clone()];
        let block = columns.start / self.format.len;
        for (row, weights) in of_rows.zip(weights.chunks(columns.len())) {
            let grid = self.format.fit(weights, importance);
            self.grids_br[block * self.num_rows + row] = grid;
            for group in 0..self.format.num_groups() {
                self.values_gr[group * self.num_rows + row] = grid.values(group);
            }
        }
        Ok(())
    }

    fn fix(&self, column: usize, weights: &Tensor) -> Result<Tensor, TchError> {
        let weights: Vec<f32> = Vec::try_from(weights)?;
        let mut fixed = vec![0.0; weights.len()];
        self.fix_slice(column, 0..weights.len(), &weights, &mut fixed);
        Tensor::f_from_slice(&fixed)
    }

    fn fix_slice(&self, column: usize, rows: Range<usize>, weights: &[f32], fixed: &mut [f32]) {
        let group = column % self.format.len / self.format.group_len;
        let values = &self.values_gr[group * self.num_rows..][rows];
        let range = self.format.range();
        for ((fixed, &weight), values) in fixed.iter_mut().zip(weights).zip(values) {
            *fixed = values.of(values.code(weight, range));
        }
    }
}
