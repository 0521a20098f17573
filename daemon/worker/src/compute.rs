//! Where and how a run computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use evopress::device;
use evopress::levels::Database;
use evopress::model::{Engine, LevelSource, Model};
use evopress::source::Source;
use evopress::tensor::Interrupted;
use evopress_core::memory::{self, Granted, Limit};
use evopress_spec::Limits;
use tch::{Device, Kind};

use crate::cli::Resources;
use crate::memory::Shares;

/// The device, the number format, the compute threads and the memory of a run.
pub(crate) struct Compute {
    pub(crate) device: Device,
    /// Of weights and activations.
    pub(crate) kind: Kind,
    pub(crate) threads: usize,
    /// How the device's memory is shared out, in bytes.
    pub(crate) shares: Shares,
    /// Set when the run is asked to stop.
    stop: Arc<AtomicBool>,
}

/// What a machine has for a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) device: Device,
    pub(crate) threads: usize,
    /// Memory of the device that computes.
    pub(crate) granted: Granted,
}

impl Machine {
    /// What `model` asks for, as far as this machine has it, within limits. Without `threads` there
    /// is one thread per core, or one on a GPU.
    pub(crate) fn resolve(
        model: &evopress_spec::Model,
        resources: &Resources,
        limits: Limits,
    ) -> Result<Self> {
        let device = device::resolve(&model.device.to_string())?;
        let limits = limits.and(resources.limits());
        let granted = match device::gpu_memory(device) {
            Some(memory) => Granted {
                bytes: memory.free,
                capacity: memory.total,
                limit: Limit::Device,
            }
            .within(limits.device_memory_bytes),
            None => memory::granted().within(limits.memory_bytes),
        };
        Ok(Self {
            device,
            threads: num_threads(resources.threads, device),
            granted,
        })
    }
}

impl Compute {
    /// On a machine, in the number format of `model`.
    pub(crate) fn new(
        machine: &Machine,
        model: &evopress_spec::Model,
        shares: Shares,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        Ok(Self {
            device: machine.device,
            kind: device::kind(&model.dtype.to_string())?,
            threads: machine.threads,
            shares,
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
        let engine = Engine::new(model, self.threads, sequence_length, stop)?;
        let returns_at_once = self.shares.returns as usize;
        Ok(engine
            .with_wave_bytes(self.shares.wave)
            .with_returns_at_once(returns_at_once))
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
fn num_threads(threads: Option<usize>, device: Device) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let default = if device.is_cuda() { 1 } else { cores };
    threads.unwrap_or(default).max(1)
}
