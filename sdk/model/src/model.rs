//! A model on a device: its embedding, norms, biases and head, and the weights of its layers.

use std::sync::Arc;
use std::time::Duration;

use evopress_search::genotype::Candidate;
use evopress_source::{ModelSpec, Source};
use tch::{Device, Kind, Tensor};

use crate::block::Block;
use crate::block_store::{BlockStore, LevelSource};
use crate::error::Result;
use crate::head::Head;
use crate::norm::Norm;
use crate::read::read_tensor;
use crate::rope_table::RopeTable;
use crate::row_store::RowStore;
use crate::supported;

/// A model on a device. Sharing is cheap: [`Model::share`] makes another handle to the same
/// weights.
pub struct Model {
    spec: Arc<ModelSpec>,
    kind: Kind,
    device: Device,
    pub(crate) embedding: RowStore,
    /// What rows of the embedding are multiplied with.
    pub(crate) embedding_scale: Option<f64>,
    pub(crate) blocks: Vec<Block>,
    /// By block: the index of its first layer.
    first_layers: Vec<usize>,
    pub(crate) weights: Arc<BlockStore>,
    pub(crate) final_norm: Norm,
    head: Head,
    /// Each table once; blocks mostly have one in common.
    ropes: Vec<RopeTable>,
    /// By block: its table.
    rope_idxs: Vec<usize>,
}

impl Model {
    /// Opens `source` on `device` in `kind` (`BFloat16` or `Float`), with the compressed weights of
    /// each method. The weights of linear layers are read or decoded where they are first used, and
    /// cached while all of them take at most `limit_bytes`.
    ///
    /// # Errors
    /// A model that computes what the decoder does not, a tensor that cannot be read, or a device
    /// without room for it.
    pub fn open(
        source: &Arc<Source>,
        kind: Kind,
        device: Device,
        levels: Vec<Arc<dyn LevelSource>>,
        limit_bytes: u64,
    ) -> Result<Self> {
        let spec = Arc::new(source.spec().clone());
        supported::check(&spec)?;
        let read = |name: &str, kind: Kind| -> Result<Tensor> {
            Ok(read_tensor(source, name)?
                .f_to_device(device)?
                .f_to_kind(kind)?
                .f_contiguous()?)
        };
        let blocks = (0..spec.num_blocks())
            .map(|idx| Block::read(&spec, idx, (kind, device), &read))
            .collect::<Result<_>>()?;
        let embedding = format!("{}.weight", spec.embedding.name);
        let embedding = RowStore::open(source, &embedding, kind, device)?;
        let final_norm = Norm::read(&spec.final_norm, &spec.final_norm.name, &read)?;
        // A head that scales is a head whose input is scaled.
        let final_norm = match spec.head.scale {
            Some(scale) => final_norm.scaled(scale)?,
            None => final_norm,
        };
        let embedding_scale = spec.embedding.scale;
        let embedding_scale = embedding_scale
            .map(|scale| rounded(scale, kind))
            .transpose()?;
        let (ropes, rope_idxs) = rope_tables(&spec, device)?;
        let weights = BlockStore::new(Arc::clone(source), kind, device, levels, limit_bytes);
        Ok(Self {
            first_layers: (0..spec.num_blocks())
                .map(|b| spec.first_layer(b))
                .collect(),
            spec,
            kind,
            device,
            embedding,
            embedding_scale,
            blocks,
            weights: Arc::new(weights),
            final_norm,
            head: Head::new(source, kind, device),
            ropes,
            rope_idxs,
        })
    }

    /// Reads the head and the dense weights, from the first block on, as far as the limit lets them
    /// stay; `progress` is told how many blocks are there after each one.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn preload(&self, progress: impl FnMut(usize)) -> Result<()> {
        self.head.load()?;
        self.weights.preload(progress)
    }

    /// Another handle to this model's weights, for another thread.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            spec: Arc::clone(&self.spec),
            kind: self.kind,
            device: self.device,
            embedding: self.embedding.share(),
            embedding_scale: self.embedding_scale,
            blocks: self.blocks.iter().map(Block::share).collect(),
            first_layers: self.first_layers.clone(),
            weights: Arc::clone(&self.weights),
            final_norm: self.final_norm.share(),
            head: self.head.share(),
            ropes: self.ropes.iter().map(RopeTable::share).collect(),
            rope_idxs: self.rope_idxs.clone(),
        }
    }

    /// What the model computes.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// A handle to what the model computes.
    pub(crate) fn shared_spec(&self) -> &Arc<ModelSpec> {
        &self.spec
    }

    /// Dtype of weights and activations.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The dense model as a candidate.
    pub fn dense(&self) -> Candidate {
        Candidate::dense(self.spec.num_blocks(), self.spec.num_layers())
    }

    /// Prepares the rotary tables for sequences of up to `length` tokens; sequences beyond what is
    /// prepared cost a new table each.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn prepare_length(&mut self, length: usize) -> Result<()> {
        for table in &mut self.ropes {
            *table = table.extended(length as i64)?;
        }
        Ok(())
    }

    /// Time that was spent decoding levels, over all threads.
    pub fn decode_time(&self) -> Duration {
        self.weights.decode_time()
    }

    /// The index of a block's first layer.
    pub(crate) fn first_layer(&self, block_idx: usize) -> usize {
        self.first_layers[block_idx]
    }

    /// The rotary table of a block's attention.
    pub(crate) fn rope_of(&self, block_idx: usize) -> &RopeTable {
        &self.ropes[self.rope_idxs[block_idx]]
    }
}

/// A scale as the dtype of the run has it: models are trained with one that is rounded.
fn rounded(scale: f64, kind: Kind) -> Result<f64> {
    let scale = Tensor::f_from_slice(&[scale])?.f_to_kind(kind)?;
    Ok(scale.f_double_value(&[0])?)
}

/// A table for each way to rotate, and by block which is its own. A block without attention gets
/// the first one.
fn rope_tables(spec: &ModelSpec, device: Device) -> Result<(Vec<RopeTable>, Vec<usize>)> {
    let mut made = Vec::new();
    let (mut tables, mut idxs) = (Vec::new(), Vec::new());
    for block in &spec.blocks {
        let Some(attention) = &block.attention else {
            idxs.push(0);
            continue;
        };
        let key = (&attention.rope, attention.head_dim);
        let known = made.iter().position(|other| *other == key);
        idxs.push(match known {
            Some(idx) => idx,
            None => {
                made.push(key);
                tables.push(RopeTable::new(attention, 1, device)?);
                tables.len() - 1
            }
        });
    }
    Ok((tables, idxs))
}
