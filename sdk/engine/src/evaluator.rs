//! From genotypes to numbers: forward passes of candidates over sequences, and their loss against the dense model.
//!
//! The dense model's targets are computed once per sequence and kept (O(D) a token, see DESIGN 'KL without logits').

mod context;
mod cosines;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use evopress_plugin::{Chunk, Target, TargetView};
use evopress_search::fitness::{self, BlockCosines};
use evopress_search::prediction::{PredictionRequest, Predictions};
use tch::{Device, Kind};

use crate::corpus::Corpus;
use crate::error::{EngineError, Result};
use crate::genotype::{Candidate, Genotype, SearchSpace};
use crate::gradient;
use crate::head::Head;
use crate::model::Model;
use crate::pool::Pool;
use crate::prefixes::Prefixes;
use crate::source::ModelConfig;
pub(crate) use context::Context;
use context::Lane;

/// Tokens that one forward pass takes on a GPU: enough to hide the time to launch a small model's kernels.
const GPU_TOKENS: usize = 8192;

/// A fitness plugin, shared by the compute threads.
pub type SharedFitness = Arc<dyn evopress_plugin::Fitness>;

/// The dense model on its compute threads.
pub struct Engine {
    pool: Pool<Context>,
    /// For what needs no thread of its own.
    model: Mutex<Model>,
    dense: Candidate,
    config: ModelConfig,
    kind: Kind,
    device: Device,
}

impl Engine {
    /// Spreads `model` over `num_threads` compute threads. Setting `stop` ends every later call with
    /// [`EngineError::Interrupted`].
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
        let head = Head::new(&model)?;
        let contexts = (0..num_threads)
            .map(|_| Context {
                model: model.share(),
                head: head.share(),
            })
            .collect();
        Ok(Self {
            pool: Pool::new(contexts, stop),
            dense: model.dense(),
            config: model.config().clone(),
            kind: model.kind(),
            device: model.device(),
            model: Mutex::new(model),
        })
    }

    /// Blocks of the model.
    pub fn num_blocks(&self) -> usize {
        self.dense.dropped.attention.len()
    }

    /// The dense model as a candidate.
    pub fn dense(&self) -> &Candidate {
        &self.dense
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
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
    pub fn switch_seconds(&self) -> f64 {
        let model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.switch_time().as_secs_f64() / self.num_threads() as f64
    }

    /// Compute threads.
    pub fn num_threads(&self) -> usize {
        self.pool.num_threads()
    }

    pub(crate) fn pool(&self) -> &Pool<Context> {
        &self.pool
    }

    /// How many sequences of `length` tokens go through the model side by side: one on the CPU, where threads do.
    pub(crate) fn batch_size(&self, length: usize) -> usize {
        match self.device.is_cuda() {
            true => (GPU_TOKENS / length).max(1),
            false => 1,
        }
    }
}

/// The fitness of genotypes on calibration text: [`fitness::Fitness`] over an [`Engine`].
pub struct CalibratedFitness<'a> {
    engine: &'a Engine,
    space: &'a SearchSpace,
    fitness: SharedFitness,
    corpus: Arc<Corpus>,
    targets: Arc<Vec<OnceLock<Target>>>,
    prefixes: Arc<Prefixes>,
    forward_tokens: Rc<Cell<u64>>,
    progress: Box<dyn Fn(usize, usize) + 'a>,
}

impl<'a> CalibratedFitness<'a> {
    /// Nothing is computed yet: targets are made when a sequence is first used, or all at once by [`Self::calibrate`].
    pub fn new(
        engine: &'a Engine,
        space: &'a SearchSpace,
        fitness: SharedFitness,
        corpus: Corpus,
    ) -> Self {
        let targets = (0..corpus.num_sequences())
            .map(|_| OnceLock::new())
            .collect();
        Self {
            engine,
            space,
            fitness,
            corpus: Arc::new(corpus),
            targets: Arc::new(targets),
            prefixes: Arc::new(Prefixes::new(0)),
            forward_tokens: Rc::default(),
            progress: Box::new(|_, _| ()),
        }
    }

    /// Computes the dense model's targets of every calibration sequence; `progress` is told how many are done.
    ///
    /// # Errors
    /// When the forward pass or the plugin fails.
    pub fn calibrate(&self, progress: impl FnMut(usize)) -> Result<()> {
        let all: Vec<usize> = (0..self.corpus.num_sequences()).collect();
        self.make_targets(&all, progress)
    }

    /// The targets of some sequences, where they are missing.
    fn make_targets(&self, sequence_idxs: &[usize], progress: impl FnMut(usize)) -> Result<()> {
        if !self.fitness.needs_target() {
            return Ok(());
        }
        let (fitness, corpus, targets) = (
            Arc::clone(&self.fitness),
            Arc::clone(&self.corpus),
            Arc::clone(&self.targets),
        );
        let dense = self.engine.dense.clone();
        let work = move |context: &mut Context, sequence_idx: usize| -> Result<()> {
            let tokens = corpus.sequence(sequence_idx);
            let hidden = context.hidden(tokens, &dense)?;
            let view = evopress_plugin_tch::view(&hidden)?;
            let chunk = Chunk {
                hidden: view,
                next_tokens: &tokens[1..],
            };
            let target = fitness.target(&context.head, &chunk)?;
            // Each sequence is visited once, so the cell is empty.
            let _ = targets[sequence_idx].set(target);
            Ok(())
        };
        let missing = sequence_idxs.iter().copied();
        let missing = missing.filter(|&idx| self.targets[idx].get().is_none());
        let missing = missing.collect();
        self.engine.pool.map(missing, work, progress).map(drop)
    }

    /// The mean loss of each genotype on each sequence of `minibatch`.
    fn losses_of(&self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<Vec<f64>>> {
        self.make_targets(minibatch, |_| ())?;
        let mut lanes: Vec<Lane> = Vec::with_capacity(genotypes.len() * minibatch.len());
        for genotype in genotypes {
            assert!(
                self.space.meets_budget(genotype),
                "a genotype beyond its budget is never evaluated"
            );
            let candidate = Arc::new(self.space.candidate(genotype));
            let of_sequence = |&sequence_idx: &usize| (Arc::clone(&candidate), sequence_idx);
            lanes.extend(minibatch.iter().map(of_sequence));
        }
        let batch_size = self.engine.batch_size(self.corpus.sequence_length());
        let items: Vec<Vec<Lane>> = lanes.chunks(batch_size).map(<[Lane]>::to_vec).collect();
        let (fitness, corpus, targets) = (
            Arc::clone(&self.fitness),
            Arc::clone(&self.corpus),
            Arc::clone(&self.targets),
        );
        let prefixes = Arc::clone(&self.prefixes);
        let work = move |context: &mut Context, lanes: Vec<Lane>| -> Result<Vec<f64>> {
            let hidden = context.hidden_of_lanes(&prefixes, &corpus, &lanes)?;
            let mut means = Vec::with_capacity(lanes.len());
            for (hidden, (_, sequence_idx)) in hidden.iter().zip(lanes) {
                let tokens = corpus.sequence(sequence_idx);
                let chunk = Chunk {
                    hidden: evopress_plugin_tch::view(hidden)?,
                    next_tokens: &tokens[1..],
                };
                let target = targets[sequence_idx]
                    .get()
                    .map_or_else(TargetView::default, Target::view);
                let losses = fitness.loss(&context.head, &chunk, &target)?;
                means.push(mean_loss(&losses, tokens.len() - 1, sequence_idx)?);
            }
            Ok(means)
        };
        let passes = genotypes.len() * minibatch.len();
        let tokens = (passes * self.corpus.sequence_length()) as u64;
        self.forward_tokens.set(self.forward_tokens.get() + tokens);
        let total = items.len();
        let losses = self
            .engine
            .pool
            .map(items, work, |done| (self.progress)(done, total))?;
        let losses = losses.concat();
        Ok(losses
            .chunks(minibatch.len())
            .map(<[f64]>::to_vec)
            .collect())
    }

    /// Lets the streams of a parent, which its children begin with, take up to `bytes`: less costs time and changes no result. On a GPU
    /// none are kept: a product's last bits depend on its shape there, so a resumed search, which begins without them, would differ.
    pub fn limit_prefixes(&mut self, bytes: u64) {
        let limit = if self.engine.device.is_cuda() {
            0
        } else {
            bytes
        };
        self.prefixes = Arc::new(Prefixes::new(limit));
    }

    /// Sequences whose streams are kept.
    #[cfg(test)]
    pub(crate) fn num_prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// From now on `progress` is told, within each evaluation, how many forward passes are done and how many there will be.
    pub fn on_progress(&mut self, progress: impl Fn(usize, usize) + 'a) {
        self.progress = Box::new(progress);
    }

    /// Tokens that went through the model for candidates so far; whoever holds it may also reset it.
    pub fn token_counter(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.forward_tokens)
    }

    /// The search space that genotypes belong to.
    pub fn space(&self) -> &SearchSpace {
        self.space
    }

    /// The engine that does the work.
    pub fn engine(&self) -> &'a Engine {
        self.engine
    }

    /// The calibration sequences.
    pub fn corpus(&self) -> &Arc<Corpus> {
        &self.corpus
    }
}

impl fitness::Fitness for CalibratedFitness<'_> {
    fn num_sequences(&self) -> usize {
        self.corpus.num_sequences()
    }

    fn losses(
        &mut self,
        genotypes: &[Genotype],
        minibatch: &[usize],
    ) -> evopress_search::Result<Vec<Vec<f64>>> {
        Ok(self.losses_of(genotypes, minibatch)?)
    }

    fn tokens_spent(&self) -> u64 {
        self.forward_tokens.get()
    }

    fn set_parent(&mut self, parent: &Genotype) {
        self.prefixes.keep_of(self.space.candidate(parent));
    }

    fn predict(
        &mut self,
        request: &PredictionRequest<'_>,
    ) -> evopress_search::Result<Option<Predictions>> {
        self.make_targets(request.sequence_idxs, |_| ())?;
        let predicted = gradient::predict(
            self.engine,
            self.space,
            &self.fitness,
            &self.corpus,
            &self.targets,
            request,
        )?;
        let tokens = predicted.as_ref().map_or(0, |found| found.forward_tokens);
        self.forward_tokens.set(self.forward_tokens.get() + tokens);
        Ok(predicted)
    }

    fn block_cosines(
        &mut self,
        minibatch: &[usize],
        num_dropped: usize,
    ) -> evopress_search::Result<Option<BlockCosines>> {
        Ok(Some(cosines::measure(self, minibatch, num_dropped)?))
    }
}

fn mean_loss(losses: &[f32], expected: usize, sequence_idx: usize) -> Result<f64> {
    if losses.len() != expected {
        let message = format!(
            "the fitness returned {} losses for {expected} tokens",
            losses.len()
        );
        return Err(EngineError::Plugin(evopress_plugin::PluginError::new(
            message,
        )));
    }
    if let Some(&value) = losses.iter().find(|loss| !loss.is_finite()) {
        return Err(EngineError::NotFinite {
            value,
            sequence_idx,
        });
    }
    Ok(losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / expected as f64)
}
