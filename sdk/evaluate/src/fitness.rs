//! From genotypes to numbers: forward passes of candidates over sequences, and their loss against
//! the dense model.
//!
//! The dense model's targets are computed once per sequence and stay (O(D) a token: a target is a
//! scalar and a hidden state).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use evopress_model::{Context, Engine};
use evopress_plugin::{Chunk, PluginError, Target, TargetView};
use evopress_search::Fitness;
use evopress_search::fitness::BlockCosines;
use evopress_search::genotype::{Genotype, SearchSpace};
use evopress_search::prediction::{PredictionRequest, Predictions};
use evopress_source::Corpus;
use tch::Tensor;

use crate::cosines;
use crate::error::{EvaluateError, Result};
use crate::gradient;
use crate::passes::{CandidateSequence, Passes};
use crate::residual_cache::ResidualCache;
use crate::routing::{self, ExpertUse};
use crate::shared_fitness::SharedFitness;

/// The fitness of genotypes on calibration text: [`Fitness`] over an [`Engine`].
pub struct CalibratedFitness<'a> {
    engine: &'a Engine,
    space: &'a SearchSpace,
    fitness: SharedFitness,
    corpus: Arc<Corpus>,
    targets: Arc<Vec<OnceLock<Target>>>,
    residual_cache: Arc<ResidualCache>,
    forward_tokens: Rc<Cell<u64>>,
    progress: Box<dyn Fn(usize, usize) + 'a>,
}

impl<'a> CalibratedFitness<'a> {
    /// Nothing is computed yet: targets are made when a sequence is first used, or all at once by
    /// [`Self::calibrate`].
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
            residual_cache: Arc::new(ResidualCache::new(engine.shared_spec(), 0)),
            forward_tokens: Rc::default(),
            progress: Box::new(|_, _| ()),
        }
    }

    /// Computes the dense model's targets of every calibration sequence; `progress` is told how
    /// many are done.
    ///
    /// # Errors
    /// When the forward pass or the plugin fails.
    pub fn calibrate(&self, progress: impl FnMut(usize)) -> Result<()> {
        let all: Vec<usize> = (0..self.corpus.num_sequences()).collect();
        self.make_targets(&all, progress)
    }

    /// What the routers of the dense model do with its experts on the first sequences of the text,
    /// at most so many; empty where it has none.
    ///
    /// # Errors
    /// When the forward pass fails.
    pub fn routing(&self, num_sequences: usize) -> Result<Vec<ExpertUse>> {
        let num_sequences = num_sequences.min(self.corpus.num_sequences());
        routing::measure(self.engine, &self.corpus, (0..num_sequences).collect())
    }

    /// The targets of some sequences, where they are missing.
    fn make_targets(&self, sequence_idxs: &[usize], mut progress: impl FnMut(usize)) -> Result<()> {
        if !self.fitness.needs_target() {
            return Ok(());
        }
        let (fitness, corpus, targets) = (
            Arc::clone(&self.fitness),
            Arc::clone(&self.corpus),
            Arc::clone(&self.targets),
        );
        let remember = move |context: &Context, hidden: &Tensor, sequence_idx: usize| {
            let chunk = Chunk {
                hidden: evopress_plugin_tch::view(hidden)?,
                next_tokens: &corpus.sequence(sequence_idx)[1..],
            };
            let target = fitness.target(&context.head, &chunk)?;
            // Each sequence is visited once, so the cell is empty.
            let _ = targets[sequence_idx].set(target);
            Ok(())
        };
        let missing = sequence_idxs.iter().copied();
        let missing = missing.filter(|&idx| self.targets[idx].get().is_none());
        let passes = self.passes(None);
        let made = passes.run_dense(missing, remember, |done, _| progress(done));
        made.map(drop)
    }

    /// Passes over the calibration text, begun where a cache allows.
    fn passes(&self, cache: Option<&Arc<ResidualCache>>) -> Passes<'_> {
        Passes {
            engine: self.engine,
            corpus: &self.corpus,
            cache: cache.cloned(),
        }
    }

    /// The mean loss of each genotype on each sequence of `minibatch`.
    fn losses_of(&self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<Vec<f64>>> {
        self.make_targets(minibatch, |_| ())?;
        let mut pairs: Vec<CandidateSequence> =
            Vec::with_capacity(genotypes.len() * minibatch.len());
        for genotype in genotypes {
            assert!(
                self.space.meets_budget(genotype),
                "a genotype beyond its budget is never evaluated"
            );
            let candidate = Arc::new(self.space.candidate(genotype));
            let of_sequence = |&sequence_idx: &usize| (Arc::clone(&candidate), sequence_idx);
            pairs.extend(minibatch.iter().map(of_sequence));
        }
        let (fitness, corpus, targets) = (
            Arc::clone(&self.fitness),
            Arc::clone(&self.corpus),
            Arc::clone(&self.targets),
        );
        let loss = move |context: &Context, hidden: &Tensor, sequence_idx: usize| {
            let tokens = corpus.sequence(sequence_idx);
            let chunk = Chunk {
                hidden: evopress_plugin_tch::view(hidden)?,
                next_tokens: &tokens[1..],
            };
            let target = targets[sequence_idx].get();
            let target = target.map_or_else(TargetView::default, Target::view);
            let losses = fitness.loss(&context.head, &chunk, &target)?;
            mean_loss(&losses, tokens.len() - 1, sequence_idx)
        };
        let tokens = (pairs.len() * self.corpus.sequence_length()) as u64;
        self.forward_tokens.set(self.forward_tokens.get() + tokens);
        let passes = self.passes(Some(&self.residual_cache));
        let losses = passes.run(&pairs, loss, &self.progress)?;
        Ok(losses
            .chunks(minibatch.len())
            .map(<[f64]>::to_vec)
            .collect())
    }

    /// Lets the residual streams of a parent, which its offspring begin with, take up to `bytes`:
    /// less costs time and changes no result. On a GPU none are cached: a product's last bits
    /// depend on its shape there, so a resumed search, which begins without them, would differ.
    pub fn limit_residual_cache(&mut self, bytes: u64) {
        let limit = if self.engine.device().is_cuda() {
            0
        } else {
            bytes
        };
        self.residual_cache = Arc::new(ResidualCache::new(self.engine.shared_spec(), limit));
    }

    /// Sequences whose residual streams are cached.
    #[cfg(test)]
    pub(crate) fn num_cached_sequences(&self) -> usize {
        self.residual_cache.len()
    }

    /// From now on `progress` is told, within each evaluation, how many forward passes are done and
    /// how many there will be.
    pub fn on_progress(&mut self, progress: impl Fn(usize, usize) + 'a) {
        self.progress = Box::new(progress);
    }

    /// Tokens that went through the model for candidates so far; whoever holds it may also reset
    /// it.
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

impl Fitness for CalibratedFitness<'_> {
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
        self.residual_cache.set_parent(self.space.candidate(parent));
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
        Ok(Some(cosines::measure(
            self.engine,
            &self.corpus,
            minibatch,
            num_dropped,
        )?))
    }

    fn expert_saliency(
        &mut self,
        minibatch: &[usize],
    ) -> evopress_search::Result<Option<Vec<Vec<f64>>>> {
        let experts = routing::measure(self.engine, &self.corpus, minibatch.to_vec())?;
        let mut saliency = vec![Vec::new(); self.space.num_blocks()];
        for expert in experts {
            saliency[expert.block_idx].push(expert.saliency);
        }
        Ok(Some(saliency))
    }
}

fn mean_loss(losses: &[f32], expected: usize, sequence_idx: usize) -> Result<f64> {
    if losses.len() != expected {
        let message = format!(
            "the fitness returned {} losses for {expected} tokens",
            losses.len()
        );
        return Err(EvaluateError::Plugin(PluginError::new(message)));
    }
    if let Some(&value) = losses.iter().find(|loss| !loss.is_finite()) {
        return Err(EvaluateError::NotFinite {
            value,
            sequence_idx,
        });
    }
    Ok(losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / expected as f64)
}
