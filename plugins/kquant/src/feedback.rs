//! Blocks whose columns take over the errors of the columns before them, as in GPTQ.
//!
//! When the sweep enters a block its grids are fitted to the weights as they are by then, in all
//! rows; then its columns are rounded to these grids one after another. Legend: K columns, B blocks
//! of a row, G groups of a block, R rows of all pairs of a batch.

use std::ops::Range;

use evopress_layerwise::layer_names;
use evopress_obs::{Batch, Factor, Order, Pair, Path, Rule, Span, pack_batches, sweep};
use evopress_plugin::{CompressTask, GgmlType, OwnedTensor, PackedWeight, PluginError, TensorView};
use evopress_plugin_tch::{to_plugin_error, with_tensor};
use tch::{Device, Kind, TchError, Tensor};

use crate::format::{Format, ggml_type_in};
use crate::grid::{Grid, Values};
use crate::importance::importance;
use crate::layout;
use crate::options::Importance;
use crate::rows::{fit_block, fit_row, nearest_row};

/// Rows whose errors are measured together.
const CHUNK: usize = 256;

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
    let torch = |error: TchError| to_plugin_error(&error);
    factor.spread = factor.spread.f_to_device(Device::Cpu).map_err(torch)?;
    let moments = Moments::of(hessian).map_err(torch)?;
    let num_columns = factor.num_columns();
    let by_norms = || importance(moments.diagonal.iter().copied());
    let (swept, alone) = match weighting {
        Importance::Residual => (
            importance(factor.importance.iter().map(|it| f64::from(*it))),
            by_norms(),
        ),
        Importance::InputNorms => (by_norms(), by_norms()),
        Importance::None => (vec![1.0; num_columns], vec![1.0; num_columns]),
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
        |batch, ggml_type| {
            let format = Format::of(ggml_type);
            let before = rows(&batch.weights).map_err(torch)?;
            let grids_br = sweep_batch(batch, &factor, format, &swept)?;
            let after = rows(&batch.weights).map_err(torch)?;
            let both = Both {
                format,
                before: &before,
                after: &after,
                grids_br: &grids_br,
                importance: &alone,
                moments: &moments,
            };
            both.pack(batch)
        },
    )
}

/// The grids of all blocks. The batch's weights become values of these.
pub(crate) fn sweep_batch(
    batch: &Batch,
    factor: &Factor,
    format: Format,
    importance: &[f32],
) -> Result<Vec<Grid>, PluginError> {
    let num_rows = batch.weights.size2().map_err(|it| to_plugin_error(&it))?.1 as usize;
    let mut rounding = Rounding::new(format, importance, num_rows);
    sweep(Path::Slices, &batch.weights, factor, &mut rounding)?;
    Ok(rounding.grids_br)
}

/// The second moment of the inputs.
struct Moments {
    /// `[K, K]` f32 on the CPU.
    whole: Tensor,
    diagonal: Vec<f64>,
}

impl Moments {
    fn of(hessian: &TensorView<'_>) -> Result<Self, TchError> {
        let whole = with_tensor(hessian, |hessian| {
            hessian.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)
        });
        let whole = whole.map_err(|error| TchError::Torch(error.message))??;
        let diagonal = Vec::try_from(&whole.f_diagonal(0, 0, 1)?.f_to_kind(Kind::Double)?)?;
        Ok(Self { whole, diagonal })
    }

    /// `(ŵ − w) H (ŵ − w)ᵀ` of each row.
    fn errors(&self, before: &[f32], after: &[f32]) -> Result<Vec<f32>, TchError> {
        let shape = [-1, self.diagonal.len() as i64];
        let error = Tensor::f_from_slice(after)?
            .f_sub(&Tensor::f_from_slice(before)?)?
            .f_view(shape)?;
        let energy = error.f_matmul(&self.whole)?.f_mul(&error)?;
        Vec::try_from(&energy.f_sum_dim_intlist(1, false, Kind::Float)?)
    }
}

/// Rows of a batch with error feedback, and each weight for itself: of weights that lie on a grid
/// already feedback moves some away.
struct Both<'a> {
    format: Format,
    /// The rows as they were, one after another.
    before: &'a [f32],
    /// With error feedback.
    after: &'a [f32],
    /// With error feedback.
    grids_br: &'a [Grid],
    /// What errors are weighted by where rows are rounded for themselves.
    importance: &'a [f32],
    moments: &'a Moments,
}

impl Both<'_> {
    /// The blocks of each pair: of each row the better ones.
    fn pack(&self, batch: &Batch) -> Result<Vec<PackedWeight>, PluginError> {
        let num_columns = self.importance.len();
        let row_bytes = self.format.ggml_type.size_bytes(num_columns as u64) as usize;
        let num_rows = self.before.len() / num_columns;
        let mut packed = Vec::with_capacity(num_rows * row_bytes);
        let chunks = self.before.chunks(CHUNK * num_columns);
        for (at, (before, after)) in chunks
            .zip(self.after.chunks(CHUNK * num_columns))
            .enumerate()
        {
            self.pack_rows(at * CHUNK, before, after, &mut packed)
                .map_err(|error| to_plugin_error(&error))?;
        }
        let of_pairs = batch.pairs.iter().map(|Pair { rows, .. }| {
            let of_pair = packed[rows.start * row_bytes..rows.end * row_bytes].to_vec();
            let shape = [rows.len() as i64, row_bytes as i64];
            Ok(PackedWeight {
                parts: vec![OwnedTensor::from_vec(of_pair, &shape)?],
            })
        });
        of_pairs.collect()
    }

    /// The rows from `first_row` on.
    fn pack_rows(
        &self,
        first_row: usize,
        before: &[f32],
        after: &[f32],
        packed: &mut Vec<u8>,
    ) -> Result<(), TchError> {
        let num_columns = self.importance.len();
        let num_rows = self.before.len() / num_columns;
        let rows = || before.chunks(num_columns);
        let alone: Vec<Vec<Grid>> = rows()
            .map(|row| fit_row(&self.format, row, self.importance))
            .collect();
        let rounded: Vec<f32> = rows()
            .zip(&alone)
            .flat_map(|(row, grids)| nearest_row(&self.format, grids, row))
            .collect();
        let errors = self.moments.errors(before, after)?;
        let errors_alone = self.moments.errors(before, &rounded)?;
        for (at, grids_alone) in alone.iter().enumerate() {
            let of_row = at * num_columns..(at + 1) * num_columns;
            if errors_alone[at] < errors[at] {
                layout::push_row(&self.format, grids_alone, &before[of_row], packed);
            } else {
                let grids = self.grids_br[first_row + at..].iter().step_by(num_rows);
                let grids: Vec<Grid> = grids.copied().collect();
                layout::push_row(&self.format, &grids, &after[of_row], packed);
            }
        }
        Ok(())
    }
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
            values_gr: vec![format.values(&grid, 0); format.num_groups() * num_rows],
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
            let grid = fit_block(&self.format, weights, importance);
            self.grids_br[block * self.num_rows + row] = grid;
            for group in 0..self.format.num_groups() {
                self.values_gr[group * self.num_rows + row] = self.format.values(&grid, group);
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
