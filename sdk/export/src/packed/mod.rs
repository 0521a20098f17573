//! The result as a Hugging Face folder whose linear layers stay packed, as the level database has
//! them: codes, scales and zeros in the layout of a format that runtimes multiply from.
//!
//! - [`PackedFormat::CompressedTensors`]: PyPI compressed-tensors' `pack-quantized`, a group of the
//!   config for each kind of grid.
//! - [`PackedFormat::Gptq`]: GPTQ checkpoints, with GPTQModel's `dynamic` rules where layers
//!   differ.
//!
//! Both compute `(code − zero) · scale` with the database's own f16 scales, so nothing is lost.
//! Layers without a grid that the format has (pruned ones, ggml's blocks, layers that no method
//! touches, dropped sub-blocks) are written decoded and named as not quantized; what else there is
//! to a folder is as [`huggingface`](super::huggingface) writes it.

mod compressed_tensors;
mod gptq;
mod grid;
mod words;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use evopress_plugin::Encoding;
use tch::Kind;

use super::layout::{Layout, Stack};
use super::{Written, adapted_files, dense, shards};
use crate::error::{ExportError, Result};
use crate::{expert_counts, stacked};
use evopress_levels::Database;
use evopress_search::genotype::{Candidate, Genotype, SearchSpace, WeightId};
use evopress_source::Source;

use grid::{Grid, Product};

/// A format with packed weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedFormat {
    /// compressed-tensors' `pack-quantized`.
    CompressedTensors,
    /// GPTQ checkpoints.
    Gptq,
}

impl fmt::Display for PackedFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PackedFormat::CompressedTensors => "compressed-tensors",
            PackedFormat::Gptq => "gptq",
        })
    }
}

/// How the linear layers of a result are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Bits of the layers that are packed.
    pub bits: BTreeSet<u8>,
    /// Whether all of these have grids symmetric about zero.
    pub is_symmetric: bool,
    /// Layers that are packed.
    pub num_packed: usize,
    /// Layers that are written decoded.
    pub num_dense: usize,
    /// Blocks whose q, k and v, or gate and up, are packed in different ways: a runtime that fuses
    /// them cannot load these.
    pub num_untied_blocks: usize,
}

/// Whether results of a search can be packed in a format: known before anything is searched.
///
/// # Errors
/// When layers that share a tensor may have different levels, when a grid has bits that the format
/// lacks, or when no level could be packed at all.
pub fn check(source: &Source, space: &SearchSpace, format: PackedFormat) -> Result<()> {
    stacked::check(source, space, &format.to_string())?;
    expert_counts::check(space, &format.to_string())?;
    let mut foreign_bits = BTreeSet::new();
    let (mut is_packed, mut is_sparse) = (false, false);
    for layer in (0..space.num_methods()).flat_map(|idx| space.variants(idx)) {
        let outline = &space.outline().layers[layer.layer_idx as usize];
        let shape = [outline.out_features as usize, outline.in_features as usize];
        for variant in &layer.variants {
            match variant.encoding {
                Encoding::Quantized { bits, .. } if !grid::has_bits(format, bits) => {
                    foreign_bits.insert(bits);
                }
                Encoding::Sparse { .. } => is_sparse = true,
                _ => is_packed |= Grid::of(format, &variant.encoding, &shape).is_some(),
            }
        }
    }
    if !foreign_bits.is_empty() {
        return Err(ExportError::Format(format!(
            "format `{format}` has grids of {} bits, found levels of {} bits: leave them out of the method's `bits`",
            words::and(grid::bits_of(format), "or"),
            words::and(foreign_bits, "and"),
        )));
    }
    if !is_packed {
        let why = match is_sparse {
            true => {
                "; pruned weights have no packed format that current runtimes load, `huggingface` has them with their zeros"
            }
            false => "; `huggingface` has every result",
        };
        return Err(ExportError::Format(format!(
            "format `{format}` packs uniform grids, as the methods `gptq` and `rtn` make them, found no such level{why}"
        )));
    }
    Ok(())
}

/// How the model that `candidate` stands for is written.
pub fn summary(
    source: &Source,
    space: &SearchSpace,
    candidate: &Candidate,
    format: PackedFormat,
) -> Summary {
    let layout = Layout::new(source, space, candidate);
    let layers = Layers::new(&layout, space, format);
    Summary {
        bits: layers.packed.iter().map(|layer| layer.grid.bits).collect(),
        is_symmetric: layers.packed.iter().all(|layer| layer.grid.symmetric),
        num_packed: layers.packed.len(),
        num_dense: layers.dense.len(),
        num_untied_blocks: layers.num_untied_blocks(),
    }
}

/// Writes the model that `genotype` stands for into `folder`, which exists and is empty.
/// `databases` are in the order of the methods, `kind` is the run's. `progress` is told bytes
/// written and bytes in all.
///
/// # Errors
/// A tensor that cannot be read, or a file that cannot be written.
#[allow(
    clippy::too_many_arguments,
    reason = "what `huggingface` takes, and the format"
)]
pub fn write(
    source: &Source,
    space: &SearchSpace,
    databases: &[Arc<Database>],
    genotype: &Genotype,
    kind: Kind,
    format: PackedFormat,
    folder: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Written> {
    let layout = Layout::new(source, space, &space.candidate(genotype));
    let layers = Layers::new(&layout, space, format);
    let parts = |layer: &Layer<'_>| Rows::of(layer, databases);
    // Reads every zero, which only GPTQ has to.
    let version = match format {
        PackedFormat::CompressedTensors => None,
        PackedFormat::Gptq => Some(gptq::Version::of(&layers.packed, parts)),
    };
    let packed: HashMap<&str, &Layer<'_>> = layers
        .packed
        .iter()
        .map(|layer| (layer.name, layer))
        .collect();
    let mut tensors = Vec::new();
    for stack in layout.stacks() {
        match (packed.get(stack.name_in_file()), version) {
            (None, _) => tensors.push(dense(source, databases, stack, kind)),
            (Some(&layer), None) => {
                tensors.extend(compressed_tensors::tensors(layer, &parts(layer)));
            }
            (Some(&layer), Some(version)) => {
                tensors.extend(gptq::tensors(layer, &parts(layer), version));
            }
        }
    }
    let weight_bytes = shards::write(&tensors, folder, progress)?;
    let mut files = adapted_files(source, space, genotype, &layout, kind)?;
    let quantization = match version {
        None => compressed_tensors::config(&layers),
        Some(version) => gptq::config(&layers, version),
    };
    if let Some(quantization) = quantization {
        files
            .config
            .insert("quantization_config".into(), quantization);
    }
    files.write(folder)?;
    Ok(Written {
        parameters: layout.num_parameters(),
        weight_bytes,
    })
}

/// A linear layer that is written packed: its weight `[N, K]`, or several with the same inputs, one
/// below the other.
struct Layer<'a> {
    /// Name of the dense weight in the artifact, `.weight` included.
    name: &'a str,
    shape: Vec<usize>,
    ids: Vec<WeightId>,
    grid: Grid,
}

impl Layer<'_> {
    /// Name of the module in the artifact.
    fn module(&self) -> &str {
        module(self.name)
    }

    /// N, the output features.
    fn rows(&self) -> usize {
        self.shape[0]
    }

    /// K, the input features.
    fn columns(&self) -> usize {
        self.shape[1]
    }

    /// G, the scales of a row.
    fn groups(&self) -> usize {
        self.grid
            .group_size
            .map_or(1, |size| self.columns() / size as usize)
    }
}

/// A packed part (codes, scales or zeros) of all of a layer's rows.
#[derive(Clone)]
struct Rows<'a>(Vec<&'a [u8]>);

impl<'a> Rows<'a> {
    /// Codes, scales and, where the grid is asymmetric, zeros.
    fn of(layer: &Layer<'_>, databases: &'a [Arc<Database>]) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for &id in &layer.ids {
            let of_weight = databases[usize::from(id.method_idx)].parts(id);
            parts.resize(of_weight.len(), Self(Vec::new()));
            for (part, bytes) in parts.iter_mut().zip(of_weight) {
                part.0.push(bytes);
            }
        }
        parts
    }

    /// The bytes, one row after the other.
    fn bytes(&self) -> Cow<'a, [u8]> {
        match self.0[..] {
            [bytes] => Cow::Borrowed(bytes),
            _ => Cow::Owned(self.0.concat()),
        }
    }
}

/// All linear layers of the blocks.
struct Layers<'a> {
    layout: &'a Layout<'a>,
    packed: Vec<Layer<'a>>,
    /// Modules that are written decoded.
    dense: Vec<&'a str>,
}

impl<'a> Layers<'a> {
    fn new(layout: &'a Layout<'a>, space: &SearchSpace, format: PackedFormat) -> Self {
        let mut layers = Self {
            layout,
            packed: Vec::new(),
            dense: Vec::new(),
        };
        let stacks = layout.stacks().into_iter();
        for stack in stacks.filter(Stack::is_layer_weight) {
            let (name, shape) = (stack.name_in_file(), stack.shape());
            match common_grid(&stack, &shape, space, format) {
                Some((ids, grid)) => layers.packed.push(Layer {
                    name,
                    shape,
                    ids,
                    grid,
                }),
                None => layers.dense.push(module(name)),
            }
        }
        layers
    }

    /// The grid of each module that is packed.
    fn grids(&self) -> HashMap<&str, Grid> {
        let packed = self.packed.iter();
        packed.map(|layer| (layer.module(), layer.grid)).collect()
    }

    /// Name in the artifact and products of each of its blocks.
    fn products(&self) -> impl Iterator<Item = (String, Vec<Product>)> {
        let spec = self.layout.spec;
        let blocks = self.layout.blocks.iter().enumerate();
        blocks.map(|(new_idx, block)| {
            let products = Product::of_block(&spec.blocks[block.idx], &block.left_out);
            (spec.block_name(new_idx), products)
        })
    }

    fn num_untied_blocks(&self) -> usize {
        let grids = self.grids();
        let is_untied = |(block_name, products): &(String, Vec<Product>)| {
            products.iter().any(|product| {
                let mut of_layers = product
                    .modules(block_name)
                    .map(|(_, module)| grids.get(module.as_str()).copied());
                let first = of_layers.next();
                of_layers.any(|grid| Some(grid) != first)
            })
        };
        self.products().filter(is_untied).count()
    }
}

/// The weights of a tensor and their grid, if all of them have one and the same that the format
/// has.
fn common_grid(
    stack: &Stack<'_>,
    shape: &[usize],
    space: &SearchSpace,
    format: PackedFormat,
) -> Option<(Vec<WeightId>, Grid)> {
    let ids: Option<Vec<WeightId>> = stack.parts.iter().map(|part| part.level).collect();
    let ids = ids?;
    let of_weight = |id: &WeightId| Grid::of(format, &space.variant(*id).encoding, shape);
    let grid = of_weight(ids.first()?)?;
    let is_common = ids.iter().all(|id| of_weight(id) == Some(grid));
    is_common.then_some((ids, grid))
}

fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}
