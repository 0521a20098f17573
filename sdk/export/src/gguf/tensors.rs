//! The file's tensors: their names, types and bytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use evopress_model::read_tensor;
use evopress_plugin::{Encoding, GgmlType, SubBlock};
use tch::{Device, Kind};

use super::repack;
use super::rows::{interleave, plain, repacked};
use crate::error::{ExportError, Result};
use crate::kept_rows;
use crate::layout::{Layout, OutTensor};
use evopress_levels::Database;
use evopress_search::genotype::{SearchSpace, WeightId};
use evopress_source::Source;
use evopress_source::gguf::rope_factors as rope_factors_of;
use evopress_source::gguf::{ROPE_FACTORS, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT, names};
use evopress_source::spec::{LayerRole, ModelSpec, TensorPart};

/// Width of an MLP that adds nothing, in a file whose blocks may have different ones: a block of
/// ggml's smaller types.
const IDLE_WIDTH: usize = 32;

/// All tensors of a file, in its order.
pub(super) struct Tensors<'a> {
    source: &'a Source,
    databases: &'a [Arc<Database>],
    tensors: Vec<GgufTensor>,
    is_deci: bool,
}

pub(super) struct GgufTensor {
    /// llama.cpp's.
    pub(super) name: String,
    /// Rows first, `[out_features, in_features]`.
    pub(super) shape: Vec<usize>,
    pub(super) ggml_type: GgmlType,
    /// What its rows are, one part below the other.
    parts: Vec<Part>,
    /// Whether each part is a layer of another expert.
    is_of_experts: bool,
}

/// Rows of a tensor.
struct Part {
    shape: Vec<usize>,
    content: Content,
    /// Heads whose rows are to be interleaved.
    num_heads: Option<usize>,
}

/// Where the bytes come from.
enum Content {
    /// The level database's own blocks.
    Blocks(WeightId),
    /// A level's codes in blocks of 32.
    Repacked(WeightId),
    /// A level's weights in the run's dtype.
    Decoded(WeightId, Kind),
    /// The bytes of a GGUF source, by the name there or Hugging Face's.
    Stored(String),
    /// The weights of a folder.
    Dense(String),
    /// Some rows of a router, in f32.
    Rows(String, Vec<i64>),
    /// The weights of a norm of a folder that lack the 1 that llama.cpp's have.
    OffsetNorm(String),
    /// Divisors of the rotary frequencies.
    RopeFactors(Vec<f32>),
    Zeros,
}

impl GgufTensor {
    fn new(name: String, part: Part, ggml_type: GgmlType) -> Self {
        Self {
            name,
            shape: part.shape.clone(),
            ggml_type,
            parts: vec![part],
            is_of_experts: false,
        }
    }

    /// What the file says of its extents; the rows of each expert are an extent of their own.
    pub(super) fn extents(&self) -> Vec<usize> {
        match (self.is_of_experts, self.shape.as_slice()) {
            (true, [rows, columns]) => {
                let num_experts = self.parts.len();
                vec![num_experts, rows / num_experts, *columns]
            }
            // llama.cpp has the gate of a shared expert as a row of numbers.
            (_, [1, columns]) => vec![*columns],
            _ => self.shape.clone(),
        }
    }

    /// Puts rows below the others.
    fn push(&mut self, part: Part, ggml_type: GgmlType) -> Result<()> {
        if ggml_type != self.ggml_type {
            return Err(ExportError::Format(format!(
                "tensor {} holds several layers and has one type, found {} and {ggml_type}; `search.grouping: {}` gives them one level",
                self.name,
                self.ggml_type,
                match self.is_of_experts {
                    true => "block",
                    false => "tied",
                }
            )));
        }
        self.shape[0] += part.shape[0];
        self.parts.push(part);
        Ok(())
    }

    pub(super) fn num_weights(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.ggml_type.size_bytes(self.num_weights())
    }
}

impl<'a> Tensors<'a> {
    pub(super) fn new(
        source: &'a Source,
        space: &SearchSpace,
        databases: &'a [Arc<Database>],
        layout: &Layout<'_>,
        kind: Kind,
    ) -> Result<Self> {
        let goes_without = layout.tensors.iter().any(|it| it.omissible.is_some());
        let is_deci = goes_without && has_deci(source);
        let mut tensors: Vec<GgufTensor> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for tensor in &layout.tensors {
            let half = tensor.omissible.filter(|_| is_deci);
            let shape = match half {
                Some(SubBlock::Attention) => continue,
                Some(SubBlock::Mlp) => idle_shape(layout.spec, tensor),
                None => tensor.shape.clone(),
            };
            let (ggml_type, content) = content(source, space, tensor, &shape, kind)?;
            let num_heads = source.interleaved_heads(tensor.source.part);
            let name = names::of_tensor(layout.spec, tensor.source.part, tensor.block_idx);
            let part = Part {
                shape,
                // What a GGUF source has is in llama.cpp's order already.
                num_heads: num_heads
                    .filter(|_| !matches!(content, Content::Stored(_)))
                    .map(|heads| heads as usize),
                content,
            };
            match places.get(&name) {
                Some(&place) => tensors[place].push(part, ggml_type)?,
                None => {
                    places.insert(name.clone(), tensors.len());
                    let is_of_experts = tensor.layer.is_some_and(|it| it.expert.is_some());
                    tensors.push(GgufTensor {
                        is_of_experts,
                        ..GgufTensor::new(name, part, ggml_type)
                    });
                }
            }
        }
        for name in [ROPE_FACTORS, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT] {
            tensors.extend(rope_factors(source, name)?);
        }
        Ok(Self {
            source,
            databases,
            tensors,
            is_deci,
        })
    }

    /// Whether blocks lack an attention or have MLPs of different widths.
    pub(super) fn is_deci(&self) -> bool {
        self.is_deci
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &GgufTensor> {
        self.tensors.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.iter().map(GgufTensor::size_bytes).sum()
    }

    /// A tensor's bytes as the file has them.
    pub(super) fn bytes(&self, tensor: &GgufTensor) -> Result<Cow<'a, [u8]>> {
        if let [part] = &tensor.parts[..] {
            return self.bytes_of(part, tensor.ggml_type);
        }
        let mut bytes = Vec::with_capacity(tensor.size_bytes() as usize);
        for part in &tensor.parts {
            bytes.extend_from_slice(&self.bytes_of(part, tensor.ggml_type)?);
        }
        Ok(Cow::Owned(bytes))
    }

    fn bytes_of(&self, part: &Part, ggml_type: GgmlType) -> Result<Cow<'a, [u8]>> {
        let database = |id: &WeightId| &self.databases[usize::from(id.method_idx)];
        let bytes: Cow<'a, [u8]> = match &part.content {
            Content::Blocks(id) => Cow::Borrowed(database(id).parts(*id)[0]),
            Content::Repacked(id) => {
                Cow::Owned(repacked(database(id), *id, &part.shape, ggml_type)?)
            }
            Content::Decoded(id, kind) => {
                let weight = database(id).decode(*id, *kind, Device::Cpu)?;
                Cow::Owned(plain(&weight)?)
            }
            Content::Stored(name) => {
                let stored = self.source.gguf_tensor(name)?;
                Cow::Borrowed(stored.map_or(&[][..], |(_, bytes)| bytes))
            }
            Content::Dense(name) => {
                let weight = read_tensor(self.source, name)?;
                let kind = match ggml_type {
                    GgmlType::F32 => Kind::Float,
                    _ => weight.kind(),
                };
                Cow::Owned(plain(&weight.f_to_kind(kind)?)?)
            }
            Content::Rows(name, rows) => {
                let weight = read_tensor(self.source, name)?.f_to_kind(Kind::Float)?;
                Cow::Owned(plain(&kept_rows(weight, Some(rows))?)?)
            }
            Content::OffsetNorm(name) => {
                let weight = read_tensor(self.source, name)?.f_to_kind(Kind::Float)?;
                Cow::Owned(plain(&(weight + 1.0))?)
            }
            Content::RopeFactors(factors) => {
                Cow::Owned(factors.iter().flat_map(|it| it.to_le_bytes()).collect())
            }
            Content::Zeros => {
                let num_weights = part.shape.iter().product::<usize>() as u64;
                Cow::Owned(vec![0; ggml_type.size_bytes(num_weights) as usize])
            }
        };
        Ok(match part.num_heads {
            Some(num_heads) => Cow::Owned(interleave(&bytes, part.shape[0], num_heads)),
            None => bytes,
        })
    }
}

/// Whether `deci` is the same model where no block goes without a half. llama.cpp's biases of
/// queries there are as wide as the model.
pub(super) fn has_deci(source: &Source) -> bool {
    let spec = source.spec();
    let is_too_wide = |block_idx: usize| {
        let block = &spec.blocks[block_idx];
        let query = block
            .layer(LayerRole::Query)
            .map(|slot| &block.layers[slot]);
        query.is_some_and(|query| query.has_bias && query.out_features != spec.hidden_size)
    };
    source.gguf_architecture() == "llama" && !(0..spec.num_blocks()).any(is_too_wide)
}

/// Width of the MLP of a block of the source.
pub(super) fn mlp_width(spec: &ModelSpec, block_idx: usize) -> usize {
    let mlp = spec.blocks[block_idx].mlp.as_ref();
    mlp.map_or(0, |mlp| mlp.intermediate_size as usize)
}

/// Width of an MLP that adds nothing, in the place of one of `width`.
pub(super) fn idle_width(width: usize) -> usize {
    IDLE_WIDTH.min(width)
}

/// The shape of a tensor of an MLP that adds nothing.
fn idle_shape(spec: &ModelSpec, tensor: &OutTensor<'_>) -> Vec<usize> {
    let mut shape = tensor.shape.clone();
    let is_weight = matches!(tensor.source.part, TensorPart::Weight { .. });
    let width = tensor
        .source
        .part
        .block_idx()
        .map_or(0, |block_idx| mlp_width(spec, block_idx));
    match tensor.layer.map(|layer| layer.role) {
        Some(LayerRole::Gate | LayerRole::Up) => shape[0] = idle_width(width),
        Some(LayerRole::Down) if is_weight => shape[1] = idle_width(width),
        _ => {}
    }
    shape
}

fn content(
    source: &Source,
    space: &SearchSpace,
    tensor: &OutTensor<'_>,
    shape: &[usize],
    kind: Kind,
) -> Result<(GgmlType, Content)> {
    if tensor.is_idle_weight() {
        return Ok((type_of_zeros(shape), Content::Zeros));
    }
    if let Some(id) = tensor.level {
        let encoding = &space.variant(id).encoding;
        if let Encoding::Ggml { ggml_type } = *encoding {
            return Ok((ggml_type, Content::Blocks(id)));
        }
        return Ok(match repack::lossless_type(encoding) {
            Some(ggml_type) => (ggml_type, Content::Repacked(id)),
            None => (type_of(kind), Content::Decoded(id, kind)),
        });
    }
    let name = &tensor.source.name;
    if let Some(rows) = &tensor.rows {
        return Ok((GgmlType::F32, Content::Rows(name.clone(), rows.clone())));
    }
    if let Some((ggml_type, _)) = source.gguf_tensor(name)? {
        return Ok((ggml_type, Content::Stored(name.clone())));
    }
    let norm = source.spec().norm_of(tensor.source.part);
    if norm.is_some_and(|norm| norm.is_offset) {
        return Ok((GgmlType::F32, Content::OffsetNorm(name.clone())));
    }
    // llama.cpp wants norms, biases and routers in f32.
    let ggml_type = match tensor.source.part {
        TensorPart::Router { .. } | TensorPart::SharedGate { .. } => GgmlType::F32,
        _ if tensor.shape.len() == 1 => GgmlType::F32,
        _ => type_of(read_tensor(source, name)?.kind()),
    };
    Ok((ggml_type, Content::Dense(name.clone())))
}

fn type_of(kind: Kind) -> GgmlType {
    match kind {
        Kind::BFloat16 => GgmlType::Bf16,
        Kind::Half => GgmlType::F16,
        _ => GgmlType::F32,
    }
}

/// The type in which zeros take the least room.
fn type_of_zeros(shape: &[usize]) -> GgmlType {
    match shape {
        [_, columns] if columns.is_multiple_of(256) => GgmlType::Q2K,
        [_, columns] if columns.is_multiple_of(32) => GgmlType::Q4_0,
        [_, _] => GgmlType::F16,
        _ => GgmlType::F32,
    }
}

/// The divisors of rotary frequencies that a file has under a name.
fn rope_factors(source: &Source, name: &'static str) -> Result<Option<GgufTensor>> {
    let stored = source.gguf_tensor(name)?;
    let mut of_spec = rope_factors_of(source.spec()).into_iter();
    let (ggml_type, count, content) = match stored {
        Some((ggml_type, bytes)) => {
            let count = bytes.len() / ggml_type.block_bytes() * ggml_type.block_len();
            (ggml_type, count, Content::Stored(name.into()))
        }
        None => {
            let Some((_, factors)) = of_spec.find(|(found, _)| *found == name) else {
                return Ok(None);
            };
            let factors: Vec<f32> = factors.into_iter().map(|it| it as f32).collect();
            (GgmlType::F32, factors.len(), Content::RopeFactors(factors))
        }
    };
    let part = Part {
        shape: vec![count],
        content,
        num_heads: None,
    };
    Ok(Some(GgufTensor::new(name.into(), part, ggml_type)))
}
