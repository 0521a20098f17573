//! The weights of the blocks' linear layers as products want them: read from the model's files or
//! decoded from a level database, and kept while there is room.
//!
//! Where everything that candidates need fits, it is kept after its first use, and the least
//! recently used weights make room for others. Where it does not, that would keep exactly what is
//! needed last: every pass would read the whole model again. Then a walk ([`crate::Walk`])
//! *streams*: what fits stays from walk to walk, from the first block on, and the rest comes by
//! block after block, each read while the one before it computes.
//!
//! How much fits changes the time, never the result.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evopress_search::genotype::{Candidate, WeightId};
use evopress_source::Source;
use evopress_tensor::Weight;
use tch::{Device, Kind, Tensor};

use crate::error::{ModelError, Result};
use crate::kept_weights::{KeptWeights, Key};
use crate::read::{read_tensor, read_weight};

/// Where the compressed weights of one method come from: a level database.
pub trait LevelSource: Send + Sync {
    /// A weight `[N, K]` in `kind` on `device`.
    ///
    /// # Errors
    /// When it cannot be decoded or the device has no room for it.
    fn decode(
        &self,
        id: WeightId,
        kind: Kind,
        device: Device,
    ) -> Result<Tensor, Box<dyn std::error::Error + Send + Sync>>;
}

/// All weights that candidates of a model may need, shared by the compute threads.
pub(crate) struct BlockStore {
    source: Arc<Source>,
    layer_names: Vec<String>,
    /// By layer.
    layer_bytes: Vec<u64>,
    block_of_layer: Vec<usize>,
    levels: Vec<Arc<dyn LevelSource>>,
    kind: Kind,
    device: Device,
    kept: Mutex<KeptWeights>,
    decode_nanoseconds: AtomicU64,
}

impl BlockStore {
    /// Weights of `source` and of each method's `levels`; at most `limit_bytes` of them are kept.
    pub(crate) fn new(
        source: Arc<Source>,
        kind: Kind,
        device: Device,
        levels: Vec<Arc<dyn LevelSource>>,
        limit_bytes: u64,
    ) -> Self {
        let spec = source.spec();
        let layers = spec.blocks.iter().flat_map(|block| &block.layers);
        let bytes = |count: u64| count * kind.elt_size_in_bytes() as u64;
        let blocks = spec.blocks.iter().enumerate();
        let block_of_layer = blocks.flat_map(|(idx, block)| vec![idx; block.layers.len()]);
        Self {
            layer_names: spec.layer_names(),
            layer_bytes: layers.map(|layer| bytes(layer.num_weights())).collect(),
            block_of_layer: block_of_layer.collect(),
            source,
            levels,
            kind,
            device,
            kept: Mutex::new(KeptWeights::new(limit_bytes)),
            decode_nanoseconds: AtomicU64::new(0),
        }
    }

    /// The weight of a layer for products: the dense one, or a level's.
    pub(crate) fn get(&self, layer_idx: usize, level: Option<WeightId>) -> Result<Weight> {
        self.kept_or_made(&Key::packed(layer_idx, level))
    }

    /// A layer's weight `[N, K]` in libtorch's layout and any dtype, a level's without rounding to
    /// the run's dtype where its products are of packed weights.
    pub(crate) fn plain(
        &self,
        layer_idx: usize,
        level: Option<WeightId>,
        kind: Kind,
    ) -> Result<Tensor> {
        let key = match self.device.is_cuda() {
            // There a weight for products is a tensor.
            true => Key::packed(layer_idx, level),
            false => Key::plain(layer_idx, level, kind),
        };
        match self.kept_or_made(&key)? {
            Weight::Plain(weight) => Ok(weight.f_to_kind(kind)?),
            Weight::Packed(_) => unreachable!("a weight that was made as a tensor is one"),
        }
    }

    /// Whether all that `candidates` need can be kept at once.
    pub(crate) fn has_room_for(&self, candidates: &[Arc<Candidate>]) -> bool {
        let limit_bytes = self.kept().limit_bytes();
        let dense: u64 = self.layer_bytes.iter().sum();
        dense.saturating_mul(candidates.len() as u64) <= limit_bytes
            || self.bytes_of(&self.keys(candidates, None)) <= limit_bytes
    }

    /// What `candidates` need of a block, or of all: weights for products, in the layers' order.
    pub(crate) fn keys(&self, candidates: &[Arc<Candidate>], block_idx: Option<usize>) -> Vec<Key> {
        let spec = self.source.spec();
        let blocks = match block_idx {
            Some(block_idx) => block_idx..block_idx + 1,
            None => 0..spec.num_blocks(),
        };
        let mut keys = Vec::new();
        for block_idx in blocks {
            let layers = spec.blocks[block_idx].layers.iter();
            for (layer_idx, layer) in spec.layers_of(block_idx).zip(layers) {
                let first = keys.len();
                for candidate in candidates {
                    let dropped = &candidate.dropped;
                    let is_left_out = dropped.contains(block_idx, layer.sub_block)
                        || layer.expert.is_some_and(|expert| {
                            dropped.experts[block_idx].binary_search(&expert).is_ok()
                        });
                    let key = Key::packed(layer_idx, candidate.weights[layer_idx]);
                    if !is_left_out && !keys[first..].contains(&key) {
                        keys.push(key);
                    }
                }
            }
        }
        keys
    }

    /// From now on weights are streamed, until what comes back is dropped: of what is kept, all but
    /// the `needed` goes; the blocks that take the most of these come by two at a time.
    pub(crate) fn stream(&self, needed: &[Key]) -> Streaming<'_> {
        let mut of_blocks = vec![0; self.source.spec().num_blocks()];
        for key in needed {
            of_blocks[self.block_of_layer[key.layer_idx()]] += self.layer_bytes[key.layer_idx()];
        }
        let largest = of_blocks.into_iter().max().unwrap_or(0);
        self.kept().begin_streaming(needed, 2 * largest);
        Streaming { store: self }
    }

    /// Time that was spent decoding levels, over all threads.
    pub(crate) fn decode_time(&self) -> Duration {
        Duration::from_nanos(self.decode_nanoseconds.load(Ordering::Relaxed))
    }

    /// Makes and keeps the dense weights, from the first on, while there is room; `progress` is
    /// told how many blocks are there after each one.
    pub(crate) fn preload(&self, mut progress: impl FnMut(usize)) -> Result<()> {
        let spec = self.source.spec();
        for block_idx in 0..spec.num_blocks() {
            for layer_idx in spec.layers_of(block_idx) {
                if !self.kept().has_room_for(self.layer_bytes[layer_idx]) {
                    progress(spec.num_blocks());
                    return Ok(());
                }
                self.get(layer_idx, None)?;
            }
            progress(block_idx + 1);
        }
        Ok(())
    }

    /// Lets all weights go; they are made again when they are asked for.
    pub(crate) fn clear(&self) {
        self.kept().clear();
    }

    fn kept_or_made(&self, key: &Key) -> Result<Weight> {
        if let Some(weight) = self.kept().get(key) {
            return Ok(weight);
        }
        // Another thread may be at this weight too: both get equal ones, and neither waits for the other.
        let weight = self.make(key)?;
        let block_idx = self.block_of_layer[key.layer_idx()];
        self.kept().insert(*key, &weight, block_idx);
        Ok(weight)
    }

    fn make(&self, key: &Key) -> Result<Weight> {
        let (layer_idx, level) = (key.layer_idx(), key.level());
        if let Some(kind) = key.plain_kind() {
            return Ok(Weight::Plain(match level {
                Some(id) => self.decode(id, kind)?,
                // In the run's dtype first: what a forward pass multiplies with.
                None => self.dense(layer_idx)?.f_to_kind(kind)?.f_contiguous()?,
            }));
        }
        match level {
            None => {
                let name = self.tensor_name(layer_idx);
                read_weight(&self.source, &name, self.kind, self.device)
            }
            Some(id) => Ok(Weight::new(self.decode(id, self.kind)?)?),
        }
    }

    /// A layer's dense weight in the dtype of the run.
    fn dense(&self, layer_idx: usize) -> Result<Tensor> {
        let weight = read_tensor(&self.source, &self.tensor_name(layer_idx))?;
        let weight = weight.f_to_kind(self.kind)?;
        Ok(weight.f_to_device(self.device)?.f_contiguous()?)
    }

    fn tensor_name(&self, layer_idx: usize) -> String {
        format!("{}.weight", self.layer_names[layer_idx])
    }

    fn decode(&self, id: WeightId, kind: Kind) -> Result<Tensor> {
        let began = Instant::now();
        let levels = &self.levels[usize::from(id.method_idx)];
        let decoded = levels.decode(id, kind, self.device);
        let elapsed = began.elapsed().as_nanos() as u64;
        self.decode_nanoseconds
            .fetch_add(elapsed, Ordering::Relaxed);
        decoded.map_err(ModelError::Level)
    }

    fn bytes_of(&self, keys: &[Key]) -> u64 {
        keys.iter()
            .map(|key| self.layer_bytes[key.layer_idx()])
            .sum()
    }

    fn kept(&self) -> MutexGuard<'_, KeptWeights> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store that streams.
pub(crate) struct Streaming<'a> {
    store: &'a BlockStore,
}

impl Streaming<'_> {
    /// Makes weights before they are asked for, as far as there is room.
    pub(crate) fn fetch(&self, keys: &[Key]) -> Result<()> {
        for key in keys {
            let bytes = self.store.layer_bytes[key.layer_idx()];
            if self.store.kept().get(key).is_none() && self.store.kept().has_room_for(bytes) {
                self.store.kept_or_made(key)?;
            }
        }
        Ok(())
    }

    /// Lets go what came by for a block.
    pub(crate) fn release(&self, block_idx: usize) {
        self.store.kept().release(block_idx);
    }
}

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.store.kept().end_streaming();
    }
}
