//! Where and how a run computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use evopress::device;
use evopress::levels::Database;
use evopress::model::{Engine, LevelSource, Model};
use evopress::source::Source;
use evopress::tensor::Interrupted;
use tch::{Device, Kind};

use crate::process;

/// The device, the number format and the compute threads of a run.
pub(crate) struct Compute {
    pub(crate) device: Device,
    /// Of weights and activations.
    pub(crate) kind: Kind,
    pub(crate) threads: usize,
    /// Set when the run is asked to stop.
    stop: Arc<AtomicBool>,
}

impl Compute {
    /// What `model` asks for, as far as this machine has it. Without `threads` there is one thread
    /// per core, or one on a GPU.
    pub(crate) fn resolve(
        model: &evopress_spec::Model,
        threads: Option<usize>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let device = device::resolve(&model.device.to_string())?;
        Ok(Self {
            device,
            kind: device::kind(&model.dtype.to_string())?,
            threads: num_threads(threads, device),
            stop,
        })
    }

    /// A model of `source` whose units can be switched to the levels of `databases`. Of its
    /// weights, `limit_bytes` stay in memory between uses.
    pub(crate) fn model(
        &self,
        source: &Arc<Source>,
        databases: &[Arc<Database>],
        limit_bytes: u64,
    ) -> Result<Model> {
        let levels = databases
            .iter()
            .map(|it| Arc::clone(it) as Arc<dyn LevelSource>);
        let levels = levels.collect();
        Ok(Model::open(
            source,
            self.kind,
            self.device,
            levels,
            limit_bytes,
        )?)
    }

    /// The compute threads, with a model on them, for sequences of up to `sequence_length` tokens.
    pub(crate) fn engine(&self, model: Model, sequence_length: usize) -> Result<Engine> {
        let stop = Arc::clone(&self.stop);
        Ok(Engine::new(model, self.threads, sequence_length, stop)?)
    }

    /// What the weights of a model may take of the device's memory: half of what is free, in bytes.
    pub(crate) fn weights_limit_bytes(&self) -> u64 {
        device::free_gpu_bytes(self.device).unwrap_or_else(process::available_memory_bytes) / 2
    }

    /// # Errors
    /// [`Interrupted`] once the run has been asked to stop.
    pub(crate) fn check_stop(&self) -> Result<(), Interrupted> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Interrupted),
            false => Ok(()),
        }
    }
}

/// Compute threads of a run on a device: so many, or by default one per core, or one on a GPU.
pub(crate) fn num_threads(threads: Option<usize>, device: Device) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let default = if device.is_cuda() { 1 } else { cores };
    threads.unwrap_or(default).max(1)
}

/// What the residual cache of a search may take: an eighth of the memory that is free, in bytes.
pub(crate) fn residual_cache_limit_bytes() -> u64 {
    process::available_memory_bytes() / 8
}
