//! Building a database, block by block (see [`super`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use evopress_cache::{Entry, Manifest};
use evopress_plugin::{Method, ModelOutline, Statistics as Wanted};
use tch::{Device, Kind, Tensor};

use super::activations::Activations;
use super::compress::{ToCompress, compress};
use super::file::LayerFile;
use super::statistics::{Statistics, Sums};
use super::{decode, file_name};
use crate::corpus::Corpus;
use crate::error::{EngineError, Result};
use crate::evaluator::{Context, Engine};
use crate::genotype::LayerVariants;
use crate::kernels::Weight;
use crate::model::{Input, Runs, Stream};
use crate::pool::ReadOnly;
use crate::source::{LAYERS_PER_BLOCK, Source};

/// A method plugin, shared by the compute threads.
pub type SharedMethod = Arc<dyn Method>;

/// Tokens whose layer inputs are in memory at once.
const BATCH_TOKENS: usize = 2048;

/// A database that is being built: what goes in, and how far it is.
pub struct Build<'a> {
    engine: &'a Engine,
    source: Arc<Source>,
    outline: ModelOutline,
    method: SharedMethod,
    layers: &'a [LayerVariants],
    first_token_share: f64,
    entry: Entry,
    manifest: Arc<Mutex<Manifest>>,
    /// Layers whose files are not there yet.
    missing: BTreeSet<u32>,
}

impl<'a> Build<'a> {
    /// Takes up a build where `manifest` and the files of `entry` are; the caller holds the entry alone. Files that are damaged are
    /// taken for missing.
    pub fn new(
        engine: &'a Engine,
        source: &Arc<Source>,
        outline: &ModelOutline,
        method: &SharedMethod,
        layers: &'a [LayerVariants],
        entry: &Entry,
        manifest: Manifest,
    ) -> Self {
        let is_there = |layer: &&LayerVariants| {
            let name = file_name(&outline.layers[layer.layer_idx as usize].name);
            let record = manifest.files.get(&name);
            record.is_some_and(|record| entry.damage(&name, record).is_none())
        };
        let missing = layers.iter().filter(|layer| !is_there(layer));
        Self {
            engine,
            source: Arc::clone(source),
            outline: outline.clone(),
            method: Arc::clone(method),
            missing: missing.map(|layer| layer.layer_idx).collect(),
            layers,
            first_token_share: 0.0,
            entry: entry.clone(),
            manifest: Arc::new(Mutex::new(manifest)),
        }
    }

    /// What the first tokens of sequences make up at least where the method minimises output errors; 0 unless told otherwise.
    #[must_use]
    pub fn with_first_token_share(self, first_token_share: f64) -> Self {
        Self {
            first_token_share,
            ..self
        }
    }

    /// Layers that are not there yet.
    pub fn num_missing(&self) -> usize {
        self.missing.len()
    }

    /// Builds what is missing on the sequences of `corpus`; `progress` is told how many of all layers are there. Activations beyond
    /// `limit_bytes` lie in a file in the entry's folder. The manifest that comes back names every file, and is the caller's to call
    /// complete.
    ///
    /// # Errors
    /// Weights or activations that are not finite, a method that fails, a full disk, or an interruption: what is finished stays.
    pub fn run(
        &self,
        corpus: &Corpus,
        limit_bytes: u64,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Manifest> {
        let total = self.layers.len();
        let mut done = total - self.missing.len();
        progress(done, total);
        let wanted = self.method.statistics();
        let last = self.missing.last().map(|idx| self.block(*idx));
        let mut activations = match (last, wanted) {
            (Some(_), Wanted::InputNorms | Wanted::Hessian) => {
                Some(self.embed(corpus, limit_bytes)?)
            }
            _ => None,
        };
        for block_idx in 0..last.map_or(0, |last| last + 1) {
            let statistics = self.missing_inputs(block_idx);
            if !statistics.is_empty() {
                let dense = self.dense_weights(block_idx)?;
                let statistics = match &activations {
                    Some(activations) => {
                        self.collect(block_idx, activations, &dense, &statistics, wanted)?
                    }
                    None => statistics
                        .into_iter()
                        .map(|input| (input, Statistics::none()))
                        .collect(),
                };
                let before = done;
                self.compress(block_idx, statistics, |layers| {
                    done = before + layers;
                    progress(done, total);
                })?;
            }
            if let Some(activations) = &mut activations
                && Some(block_idx) < last
            {
                self.propagate(block_idx, activations)?;
            }
        }
        Ok(self.manifest().clone())
    }

    fn manifest(&self) -> std::sync::MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the method makes of a layer, if anything.
    fn of_method(&self, layer_idx: usize) -> Option<&LayerVariants> {
        let mut layers = self.layers.iter();
        layers.find(|layer| layer.layer_idx as usize == layer_idx)
    }

    fn block(&self, layer_idx: u32) -> usize {
        self.outline.layers[layer_idx as usize].block_idx as usize
    }

    /// The inputs of a block that missing layers read.
    fn missing_inputs(&self, block_idx: usize) -> Vec<Input> {
        let is_missing = |slot: usize| {
            let layer_idx = block_idx * LAYERS_PER_BLOCK + slot;
            self.missing.contains(&(layer_idx as u32))
        };
        let inputs = Input::ALL.into_iter();
        inputs
            .filter(|input| input.layers().any(is_missing))
            .collect()
    }

    /// The stream before the first block.
    fn embed(&self, corpus: &Corpus, limit_bytes: u64) -> Result<Activations> {
        let width = self.source.config().hidden_size as usize;
        let shape = (corpus.num_sequences(), corpus.sequence_length(), width);
        let activations = Activations::new(shape, limit_bytes, self.entry.path())?;
        let (tokens, streams) = (corpus.clone(), sequences(&activations, shape.0)?);
        let work = move |context: &mut Context, (idx, mut stream): (usize, Tensor)| {
            stream.f_copy_(context.embed(&[tokens.sequence(idx)])?.residual())?;
            Ok(())
        };
        self.engine.pool().map(streams, work, |_| ())?;
        Ok(activations)
    }

    /// A block's dense weights.
    fn dense_weights(&self, block_idx: usize) -> Result<ReadOnly<Vec<Weight>>> {
        let (kind, device) = (self.engine.kind(), self.engine.device());
        let slots = (0..LAYERS_PER_BLOCK).map(|slot| block_idx * LAYERS_PER_BLOCK + slot);
        let weights = slots.map(|layer_idx| {
            let weight = self.dense_weight(layer_idx)?;
            Weight::new(weight.f_to_kind(kind)?.f_to_device(device)?)
        });
        Ok(ReadOnly::new(weights.collect::<Result<_>>()?))
    }

    /// A layer's dense weight as the model has it.
    fn dense_weight(&self, layer_idx: usize) -> Result<Tensor> {
        let name = &self.outline.layers[layer_idx].name;
        let weight = self.source.tensor(&format!("{name}.weight"))?;
        if weight.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            return Err(EngineError::NotFiniteLayer {
                layer: name.clone(),
                what: "weights",
            });
        }
        Ok(weight)
    }

    /// The statistics of some inputs of a block, behind the compressed blocks before it.
    fn collect(
        &self,
        block_idx: usize,
        activations: &Activations,
        dense: &ReadOnly<Vec<Weight>>,
        inputs: &[Input],
        wanted: Wanted,
    ) -> Result<Vec<(Input, Statistics)>> {
        let fresh = |_| Sums::new(wanted, self.first_token_share);
        let mut sums: Vec<Sums> = inputs.iter().map(fresh).collect();
        let (num_sequences, length) = activations.shape();
        let batch = (BATCH_TOKENS / length).max(self.engine.num_threads());
        for first in (0..num_sequences).step_by(batch) {
            let streams = sequences(activations, num_sequences)?
                .into_iter()
                .skip(first)
                .take(batch)
                .collect();
            let (dense, inputs) = (dense.share(), inputs.to_vec());
            let work = move |context: &mut Context, (_, stream): (usize, Tensor)| {
                let mut seen: Vec<Option<Tensor>> = inputs.iter().map(|_| None).collect();
                let mut observe = |input: Input, values: &Tensor| {
                    if let Some(place) = inputs.iter().position(|it| *it == input) {
                        seen[place] = Some(values.shallow_clone());
                    }
                };
                let model = &context.model;
                let mut stream = Stream::of(stream.f_to_device(model.device())?.f_detach_copy()?);
                let weights = dense.get();
                let [qkv, output, gate_up, _] = by_input(weights);
                model.attention(block_idx, &mut stream, &qkv, &output, &mut observe)?;
                // Nobody reads what the down projection would add.
                let _ = model.gated(block_idx, &stream, &gate_up, &mut observe)?;
                Ok(seen)
            };
            let seen = self.engine.pool().map(streams, work, |_| ())?;
            for (place, sums) in sums.iter_mut().enumerate() {
                let of_input = seen.iter().filter_map(|seen| seen[place].as_ref());
                let of_input: Vec<Tensor> = of_input.map(Tensor::shallow_clone).collect();
                sums.add(self.engine.pool(), &of_input)?;
            }
        }
        let named = inputs.iter().zip(sums).map(|(&input, sums)| {
            let layer_idx = block_idx * LAYERS_PER_BLOCK + input.layers().start;
            Ok((input, sums.finish(&self.outline.layers[layer_idx].name)?))
        });
        named.collect()
    }

    /// Compresses a block's missing layers; each file is durable when it is done. `done` is told how many layers are.
    fn compress(
        &self,
        block_idx: usize,
        statistics: Vec<(Input, Statistics)>,
        mut done: impl FnMut(usize),
    ) -> Result<()> {
        let device = self.engine.device();
        let mut tasks = Vec::new();
        for (input, statistics) in statistics {
            let slots = input
                .layers()
                .map(|slot| block_idx * LAYERS_PER_BLOCK + slot);
            let layers = slots.filter(|idx| self.missing.contains(&(*idx as u32)));
            let layers: Vec<ToCompress> = layers
                .map(|layer_idx| {
                    let weight = self.dense_weight(layer_idx)?;
                    let of_method = self.of_method(layer_idx);
                    Ok(ToCompress {
                        name: self.outline.layers[layer_idx].name.clone(),
                        weight: weight
                            .f_to_device(device)?
                            .f_to_kind(Kind::Float)?
                            .f_contiguous()?,
                        variants: of_method.map_or_else(Vec::new, |layer| layer.variants.clone()),
                    })
                })
                .collect::<Result<_>>()?;
            tasks.push((statistics, layers));
        }
        // The longest first, so that no thread is left with it at the end.
        tasks.sort_by_key(|(_, layers)| std::cmp::Reverse(work_of(layers)));
        let counts: Vec<usize> = tasks.iter().map(|(_, layers)| layers.len()).collect();
        let (method, entry, manifest) = (
            Arc::clone(&self.method),
            self.entry.clone(),
            Arc::clone(&self.manifest),
        );
        let work = move |_: &mut Context, (statistics, layers): (Statistics, Vec<ToCompress>)| {
            compress(method.as_ref(), &statistics, &layers, &entry, &manifest)
        };
        // Tasks end in any order; the sum over as many is near enough for a progress bar.
        let finished = |tasks: usize| done(counts[..tasks].iter().sum());
        self.engine.pool().map(tasks, work, finished).map(drop)
    }

    /// Runs a block with the weights at the calibration level.
    fn propagate(&self, block_idx: usize, activations: &mut Activations) -> Result<()> {
        let (kind, device) = (self.engine.kind(), self.engine.device());
        let mut weights = Vec::with_capacity(LAYERS_PER_BLOCK);
        for slot in 0..LAYERS_PER_BLOCK {
            let layer_idx = block_idx * LAYERS_PER_BLOCK + slot;
            let layer = self.of_method(layer_idx);
            let level = layer.and_then(|layer| Some((layer, layer.calibration?)));
            let weight = match level {
                Some((layer, variant_idx)) => {
                    let of_model = &self.outline.layers[layer_idx];
                    let shape = (
                        of_model.out_features as usize,
                        of_model.in_features as usize,
                    );
                    let path = self.entry.path().join(file_name(&of_model.name));
                    let file = LayerFile::open(&path, shape, &layer.variants)?;
                    decode::weight(&file, variant_idx.into(), kind, device)?
                }
                None => self
                    .dense_weight(layer_idx)?
                    .f_to_kind(kind)?
                    .f_to_device(device)?,
            };
            weights.push(Weight::new(weight)?);
        }
        let weights = ReadOnly::new(weights);
        let streams = sequences(activations, activations.shape().0)?;
        let work = move |context: &mut Context, (_, mut place): (usize, Tensor)| {
            let model = &context.model;
            let on_cpu = model.device() == Device::Cpu;
            // On the CPU the stream is changed where it lies.
            let mut stream = Stream::of(place.f_to_device(model.device())?);
            let weights = weights.get();
            let [qkv, output, gate_up, down] = by_input(weights);
            model.attention(block_idx, &mut stream, &qkv, &output, &mut |_, _| ())?;
            model.mlp(block_idx, &mut stream, &gate_up, &down, &mut |_, _| ())?;
            if !on_cpu {
                place.f_copy_(stream.residual())?;
            }
            Ok(())
        };
        self.engine.pool().map(streams, work, |_| ()).map(drop)
    }
}

/// Products that layers with the same inputs take, up to a factor: each row of each variant meets the square of the inputs' width, and so
/// do the inputs among themselves.
fn work_of(layers: &[ToCompress]) -> i64 {
    let rows = layers
        .iter()
        .map(|layer| layer.weight.size()[0] * layer.variants.len().max(1) as i64);
    let width = layers.first().map_or(0, |layer| layer.weight.size()[1]);
    (rows.sum::<i64>() + width) * width * width
}

/// Views of all sequences' streams, with their numbers.
fn sequences(activations: &Activations, count: usize) -> Result<Vec<(usize, Tensor)>> {
    let sequences = (0..count).map(|idx| Ok((idx, activations.sequence(idx)?)));
    sequences.collect()
}

/// The weights of a block's layers, by what they read.
fn by_input(weights: &[Weight]) -> [Runs; 4] {
    Input::ALL.map(|input| Runs::one(&weights[input.layers()]))
}
