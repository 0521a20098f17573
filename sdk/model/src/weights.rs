//! The weights of linear layers as the products want them: read or decoded where they are first
//! used, cached while there is room.
//!
//! Candidates differ from each other in a few layers, so nearly every weight that a forward pass
//! needs is there already. What is not is read from the model (dense) or decoded ([`LevelSource`]),
//! and the least recently used weights make room for it. A limit that is too small costs time,
//! never the result.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evopress_search::genotype::WeightId;
use evopress_source::Source;
use evopress_tensor::Weight;
use lru::LruCache;
use tch::{Device, Kind, Tensor};

use crate::error::{ModelError, Result};
use crate::read::read_tensor;

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
pub(crate) struct Weights {
    source: Arc<Source>,
    layer_names: Vec<String>,
    levels: Vec<Arc<dyn LevelSource>>,
    kind: Kind,
    device: Device,
    limit_bytes: u64,
    cache: Mutex<Cache>,
    decode_nanoseconds: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Dense { layer_idx: u32 },
    Level(WeightId),
}

struct Cache {
    weights: LruCache<Key, Weight>,
    num_bytes: u64,
}

impl Weights {
    pub(crate) fn new(
        source: Arc<Source>,
        kind: Kind,
        device: Device,
        levels: Vec<Arc<dyn LevelSource>>,
        limit_bytes: u64,
    ) -> Self {
        Self {
            layer_names: source.spec().layer_names(),
            source,
            levels,
            kind,
            device,
            limit_bytes,
            cache: Mutex::new(Cache {
                weights: LruCache::unbounded(),
                num_bytes: 0,
            }),
            decode_nanoseconds: AtomicU64::new(0),
        }
    }

    /// The weight of a layer: the dense one, or a level's.
    pub(crate) fn get(&self, layer_idx: usize, level: Option<WeightId>) -> Result<Weight> {
        let key = level.map_or(
            Key::Dense {
                layer_idx: layer_idx as u32,
            },
            Key::Level,
        );
        if let Some(weight) = self.cache().weights.get(&key) {
            return Ok(weight.share());
        }
        // Another thread may be at this weight too: both get equal ones, and neither waits for the other.
        let weight = match level {
            None => Weight::new(self.dense(layer_idx)?)?,
            Some(id) => {
                let began = Instant::now();
                let weight = Weight::new(self.decode(id, self.kind)?)?;
                let elapsed = began.elapsed().as_nanos() as u64;
                self.decode_nanoseconds
                    .fetch_add(elapsed, Ordering::Relaxed);
                weight
            }
        };
        self.cache().insert(key, &weight, self.limit_bytes);
        Ok(weight)
    }

    /// A layer's weight `[N, K]` in libtorch's layout and any dtype. On a GPU it is the cached one;
    /// elsewhere, where cached weights may be packed, it is made anew, a level's without rounding
    /// to the run's dtype.
    pub(crate) fn plain(
        &self,
        layer_idx: usize,
        level: Option<WeightId>,
        kind: Kind,
    ) -> Result<Tensor> {
        if self.device.is_cuda()
            && let Weight::Plain(weight) = self.get(layer_idx, level)?
        {
            return Ok(weight.f_to_kind(kind)?);
        }
        match level {
            Some(id) => self.decode(id, kind),
            // In the run's dtype first: what a forward pass multiplies with.
            None => Ok(self.dense(layer_idx)?.f_to_kind(kind)?.f_contiguous()?),
        }
    }

    /// Time that was spent decoding levels, over all threads.
    pub(crate) fn decode_time(&self) -> Duration {
        Duration::from_nanos(self.decode_nanoseconds.load(Ordering::Relaxed))
    }

    /// A layer's dense weight in the dtype of the run.
    fn dense(&self, layer_idx: usize) -> Result<Tensor> {
        let name = format!("{}.weight", self.layer_names[layer_idx]);
        let weight = read_tensor(&self.source, &name)?.f_to_kind(self.kind)?;
        Ok(weight.f_to_device(self.device)?.f_contiguous()?)
    }

    fn decode(&self, id: WeightId, kind: Kind) -> Result<Tensor> {
        let levels = &self.levels[usize::from(id.method_idx)];
        levels
            .decode(id, kind, self.device)
            .map_err(ModelError::Level)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn insert(&mut self, key: Key, weight: &Weight, limit_bytes: u64) {
        if self.weights.put(key, weight.share()).is_none() {
            self.num_bytes += weight.num_bytes();
        }
        while self.num_bytes > limit_bytes && self.weights.len() > 1 {
            let Some((_, oldest)) = self.weights.pop_lru() else {
                return;
            };
            self.num_bytes -= oldest.num_bytes();
        }
    }
}
