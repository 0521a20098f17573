//! The dense model on its compute threads.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use evopress_search::genotype::Candidate;
use evopress_source::ModelSpec;
use evopress_tensor::Pool;
use tch::{Device, Kind};

use crate::block_store::BlockStore;
use crate::context::Context;
use crate::error::Result;
use crate::model::Model;

/// What items of a wave take between two blocks ([`crate::Walk`]), unless told otherwise.
const WAVE_BYTES: u64 = 1 << 30;

/// Tokens that one forward pass takes on a GPU: enough to hide the time to launch a small model's
/// kernels.
const GPU_TOKENS: usize = 8192;

/// The dense model on its compute threads.
pub struct Engine {
    pool: Pool<Context>,
    dense: Candidate,
    spec: Arc<ModelSpec>,
    kind: Kind,
    device: Device,
    store: Arc<BlockStore>,
    wave_bytes: u64,
    returns_at_once: usize,
}

impl Engine {
    /// Spreads `model` over `num_threads` compute threads. Setting `stop` ends every later call
    /// with [`ModelError::Interrupted`](crate::ModelError::Interrupted).
    ///
    /// # Errors
    /// When the rotary table for sequences of `sequence_length` tokens cannot be made.
    pub fn new(
        mut model: Model,
        num_threads: usize,
        sequence_length: usize,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        model.prepare_length(sequence_length)?;
        let num_threads = num_threads.max(1);
        if !model.device().is_cuda() {
            // Parallel over sequences, not inside an operator.
            tch::set_num_threads(1);
        }
        let contexts = (0..num_threads)
            .map(|_| Context {
                model: model.share(),
                head: model.head().share(),
            })
            .collect();
        Ok(Self {
            pool: Pool::new(contexts, stop),
            dense: model.dense(),
            spec: Arc::clone(model.shared_spec()),
            kind: model.kind(),
            device: model.device(),
            store: Arc::clone(&model.weights),
            wave_bytes: WAVE_BYTES,
            returns_at_once: num_threads,
        })
    }

    /// Lets the items of a wave take so much memory between two blocks: less costs time where
    /// weights are streamed, and changes no result.
    #[must_use]
    pub fn with_wave_bytes(self, wave_bytes: u64) -> Self {
        Self { wave_bytes, ..self }
    }

    /// Lets so many threads at a time take items back through the blocks, which takes the memory of
    /// a block's weights, activations and gradients on each.
    #[must_use]
    pub fn with_returns_at_once(self, returns_at_once: usize) -> Self {
        Self {
            returns_at_once: returns_at_once.max(1),
            ..self
        }
    }

    /// Threads that take items back through the blocks at a time.
    pub fn returns_at_once(&self) -> usize {
        self.returns_at_once
    }

    /// Lets the weights of all layers go, for work that needs their memory; they are read or
    /// decoded again when they are asked for.
    pub fn release_weights(&self) {
        self.store.clear();
    }

    pub(crate) fn wave_bytes(&self) -> u64 {
        self.wave_bytes
    }

    pub(crate) fn store(&self) -> &BlockStore {
        &self.store
    }

    /// What the model computes.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// A handle to what the model computes.
    pub fn shared_spec(&self) -> Arc<ModelSpec> {
        Arc::clone(&self.spec)
    }

    /// The dense model as a candidate.
    pub fn dense(&self) -> &Candidate {
        &self.dense
    }

    /// Dtype of weights and activations.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Seconds that the compute threads spent decoding levels so far, on average.
    pub fn decode_seconds(&self) -> f64 {
        self.store.decode_time().as_secs_f64() / self.num_threads() as f64
    }

    /// Compute threads.
    pub fn num_threads(&self) -> usize {
        self.pool.num_threads()
    }

    /// The compute threads.
    pub fn pool(&self) -> &Pool<Context> {
        &self.pool
    }

    /// How many sequences of `length` tokens go through the model side by side: one on the CPU,
    /// where threads do.
    pub fn batch_size(&self, length: usize) -> usize {
        match self.device.is_cuda() {
            true => (GPU_TOKENS / length).max(1),
            false => 1,
        }
    }
}
