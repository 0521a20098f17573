//! The weights of linear layers as the products want them: read or decoded where they are first used, kept while memory
//! lasts.
//!
//! Candidates differ from each other in a few layers, so nearly every weight that a forward pass asks for is there already. What
//! is not is read from the model (dense) or decoded from a level database (a *level switch*), and the least recently used weights make
//! room for it. A limit that is too small costs time, never the result.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::genotype::WeightId;
use crate::kernels::Weight;
use crate::levels::Database;
use crate::source::Source;

/// All weights that candidates of a model may ask for, shared by the compute threads.
pub(crate) struct Weights {
    source: Arc<Source>,
    layer_names: Vec<String>,
    databases: Vec<Arc<Database>>,
    kind: Kind,
    device: Device,
    limit_bytes: u64,
    kept: Mutex<Kept>,
    switch_nanoseconds: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Dense { layer_idx: u32 },
    Level(WeightId),
}

#[derive(Default)]
struct Kept {
    weights: HashMap<Key, (Weight, u64)>,
    num_bytes: u64,
    /// Counts requests: what was asked for last has the highest number.
    clock: u64,
}

impl Weights {
    pub(crate) fn new(
        source: Arc<Source>,
        kind: Kind,
        device: Device,
        databases: Vec<Arc<Database>>,
        limit_bytes: u64,
    ) -> Self {
        Self {
            layer_names: source.layer_names(),
            source,
            databases,
            kind,
            device,
            limit_bytes,
            kept: Mutex::default(),
            switch_nanoseconds: AtomicU64::new(0),
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
        if let Some(weight) = self.kept().get(key) {
            return Ok(weight);
        }
        // Another thread may be at the same weight: both get the same one, and neither waits for the other.
        let began = Instant::now();
        let weight = match key {
            Key::Dense { .. } => {
                let name = format!("{}.weight", self.layer_names[layer_idx]);
                let weight = self.source.tensor(&name)?.f_to_kind(self.kind)?;
                Weight::new(weight.f_to_device(self.device)?.f_contiguous()?)?
            }
            Key::Level(id) => {
                let database = &self.databases[usize::from(id.method_idx)];
                let weight = database.decode(id, self.kind, self.device)?;
                let weight = Weight::new(weight)?;
                let elapsed = began.elapsed().as_nanos() as u64;
                self.switch_nanoseconds
                    .fetch_add(elapsed, Ordering::Relaxed);
                weight
            }
        };
        self.keep(key, &weight);
        Ok(weight)
    }

    /// The same `[N, K]` in libtorch's layout and any dtype. On a GPU it is the kept one; elsewhere, where kept weights may be packed, it is
    /// made anew, a level's without rounding to the run's dtype.
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
            Some(id) => self.databases[usize::from(id.method_idx)].decode(id, kind, self.device),
            None => {
                let weight = self
                    .source
                    .tensor(&format!("{}.weight", self.layer_names[layer_idx]))?;
                // In the run's dtype first: what a forward pass multiplies with.
                let weight = weight.f_to_kind(self.kind)?.f_to_device(self.device)?;
                Ok(weight.f_to_kind(kind)?.f_contiguous()?)
            }
        }
    }

    /// Time that was spent decoding levels, over all threads.
    pub(crate) fn switch_time(&self) -> Duration {
        Duration::from_nanos(self.switch_nanoseconds.load(Ordering::Relaxed))
    }

    fn keep(&self, key: Key, weight: &Weight) {
        let mut kept = self.kept();
        kept.clock += 1;
        let clock = kept.clock;
        if kept.weights.insert(key, (weight.share(), clock)).is_none() {
            kept.num_bytes += weight.num_bytes();
        }
        while kept.num_bytes > self.limit_bytes && kept.weights.len() > 1 {
            kept.drop_oldest();
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&mut self, key: Key) -> Option<Weight> {
        self.clock += 1;
        let (weight, last_use) = self.weights.get_mut(&key)?;
        *last_use = self.clock;
        Some(weight.share())
    }

    fn drop_oldest(&mut self) {
        let oldest = self
            .weights
            .iter()
            .min_by_key(|(_, (_, last_use))| *last_use);
        let Some(key) = oldest.map(|(key, _)| *key) else {
            return;
        };
        if let Some((weight, _)) = self.weights.remove(&key) {
            self.num_bytes -= weight.num_bytes();
        }
    }
}
