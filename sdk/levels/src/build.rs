//! Building a database, block by block (see the crate's documentation).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use evopress_cache::{Entry, Manifest};
use evopress_model::{BlockWeights, Context, Engine, Input, Observed, Stream, read_tensor};
use evopress_plugin::{Method, ModelOutline, Statistics as Wanted};
use evopress_search::genotype::LayerVariants;
use evopress_source::spec::{InputGroup, LayerInput};
use evopress_source::{Corpus, ModelSpec, Source};
use evopress_tensor::{ReadOnly, SpilledRows, Weight};
use tch::{Kind, Tensor};

use crate::compress::{ToCompress, compress, work_of};
use crate::decode;
use crate::error::{LevelsError, Result};
use crate::file::{LayerFile, file_name};
use crate::ledger::Ledger;
use crate::parts::within;
use crate::statistics::{SequenceInput, Statistics, Sums, wanted_bytes};

/// A method plugin, shared by the compute threads.
pub type SharedMethod = Arc<dyn Method>;

/// Tokens whose layer inputs are in memory at once, or one sequence for each thread if that is
/// more.
pub const BATCH_TOKENS: usize = 2048;

/// Bytes of the statistics that are in memory at once. A block with more of them, which has
/// experts, is run once for each part of them.
pub const STATISTICS_BYTES: u64 = 2 << 30;

/// A database that is being built: what goes in, and how far it is.
pub struct Build<'a> {
    engine: &'a Engine,
    source: Arc<Source>,
    outline: ModelOutline,
    method: SharedMethod,
    layers: &'a [LayerVariants],
    first_token_share: f64,
    entry: Entry,
    ledger: Arc<Ledger>,
    /// Layers whose files are not there yet.
    missing: BTreeSet<u32>,
}

impl<'a> Build<'a> {
    /// Takes up a build where `manifest` and the files of `entry` are; the caller holds the entry
    /// alone. Files that are damaged are taken for missing.
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
            ledger: Arc::new(Ledger::new(entry, manifest)),
        }
    }

    /// What the first tokens of sequences make up at least where the method minimises output
    /// errors; 0 unless told otherwise.
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

    /// Builds what is missing on the sequences of `corpus`; `progress` is told how many of all
    /// layers are there. Activations beyond `limit_bytes` lie in a file in the entry's folder. The
    /// manifest that comes back names every file, and is the caller's to call complete.
    ///
    /// # Errors
    /// Weights or activations that are not finite, a method that fails, a full disk, or an
    /// interruption: what is finished stays.
    pub fn run(
        &self,
        corpus: &Corpus,
        limit_bytes: u64,
        progress: impl FnMut(usize, usize),
    ) -> Result<Manifest> {
        let built = self.build(corpus, limit_bytes, progress);
        let saved = self.ledger.save();
        built.and(saved)?;
        Ok(self.ledger.manifest())
    }

    fn build(
        &self,
        corpus: &Corpus,
        limit_bytes: u64,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<()> {
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
            let groups = self.missing_groups(block_idx);
            let width = |group: &InputGroup| self.width(block_idx, group);
            for groups in within(groups, STATISTICS_BYTES, |it| {
                wanted_bytes(wanted, width(it))
            }) {
                let statistics = match &activations {
                    Some(activations) => self.collect(block_idx, activations, &groups, wanted)?,
                    None => groups.iter().map(|_| Statistics::none()).collect(),
                };
                let before = done;
                let tasks = groups.into_iter().zip(statistics).collect();
                self.compress(block_idx, tasks, |layers| {
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
        Ok(())
    }

    fn spec(&self) -> &ModelSpec {
        self.source.spec()
    }

    /// What the method makes of a layer, if anything.
    fn of_method(&self, layer_idx: usize) -> Option<&LayerVariants> {
        let at = self
            .layers
            .binary_search_by_key(&(layer_idx as u32), |layer| layer.layer_idx);
        at.ok().map(|at| &self.layers[at])
    }

    fn block(&self, layer_idx: u32) -> usize {
        self.outline.layers[layer_idx as usize].block_idx as usize
    }

    /// The inputs of a block that missing layers read.
    fn missing_groups(&self, block_idx: usize) -> Vec<InputGroup> {
        let first = self.spec().first_layer(block_idx);
        let is_missing = |slot: &usize| self.missing.contains(&((first + slot) as u32));
        let mut groups = self.spec().blocks[block_idx].layers_by_input();
        groups.retain(|group| group.slots.iter().any(is_missing));
        groups
    }

    /// How wide the input of a group of layers is.
    fn width(&self, block_idx: usize, group: &InputGroup) -> i64 {
        self.spec().blocks[block_idx].layers[group.slots[0]].in_features
    }

    /// The stream before the first block.
    fn embed(&self, corpus: &Corpus, limit_bytes: u64) -> Result<SpilledRows> {
        let (count, length) = (corpus.num_sequences(), corpus.sequence_length());
        let size = [count as i64, length as i64, self.spec().hidden_size];
        let mut activations = SpilledRows::new(&size, limit_bytes, self.entry.path())?;
        for batch in self.batches(count, length) {
            let tokens = corpus.clone();
            let work = move |context: &mut Context, idx: usize| -> Result<Tensor> {
                Ok(context.embed(&[tokens.sequence(idx)])?.snapshot()?)
            };
            let streams = self.engine.pool().map(batch.clone(), work, |_| ())?;
            for (idx, stream) in batch.into_iter().zip(streams) {
                activations.write(idx, &stream)?;
            }
        }
        Ok(activations)
    }

    /// Sequences whose activations are in memory at once.
    fn batches(&self, num_sequences: usize, length: usize) -> Vec<Vec<usize>> {
        let size = (BATCH_TOKENS / length).max(self.engine.num_threads());
        let all: Vec<usize> = (0..num_sequences).collect();
        all.chunks(size).map(<[usize]>::to_vec).collect()
    }

    /// Streams of some sequences, each in memory of its own on the run's device.
    fn streams(&self, activations: &SpilledRows, batch: &[usize]) -> Result<Vec<Stream>> {
        let device = self.engine.device();
        let streams = batch
            .iter()
            .map(|&idx| Ok(Stream::of_sequence(activations.read(idx, device)?)));
        streams.collect()
    }

    /// A block's dense weights.
    fn dense_weights(&self, block_idx: usize) -> Result<ReadOnly<Vec<Weight>>> {
        let weights = self.spec().layers_of(block_idx).map(|layer_idx| {
            let weight = self.dense_weight(layer_idx)?;
            self.weight(&weight)
        });
        Ok(ReadOnly::new(weights.collect::<Result<_>>()?))
    }

    /// A weight as products on the run's device want it.
    fn weight(&self, weight: &Tensor) -> Result<Weight> {
        let weight = weight.f_to_kind(self.engine.kind())?;
        Ok(Weight::new(weight.f_to_device(self.engine.device())?)?)
    }

    /// A layer's dense weight as the model has it.
    fn dense_weight(&self, layer_idx: usize) -> Result<Tensor> {
        let name = &self.outline.layers[layer_idx].name;
        let weight = read_tensor(&self.source, &format!("{name}.weight"))?;
        if weight.f_isfinite()?.f_all()?.int64_value(&[]) == 0 {
            return Err(LevelsError::NotFinite {
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
        activations: &SpilledRows,
        groups: &[InputGroup],
        wanted: Wanted,
    ) -> Result<Vec<Statistics>> {
        let dense = self.dense_weights(block_idx)?;
        let places: Vec<Place> = groups.iter().map(|it| (it.input, it.expert)).collect();
        let places: HashMap<Place, usize> = places.into_iter().zip(0..).collect();
        let places = Arc::new(places);
        let fresh = |_| Sums::new(wanted, self.first_token_share);
        let mut sums: Vec<Sums> = groups.iter().map(fresh).collect();
        let size = activations.size();
        for batch in self.batches(size[0] as usize, size[1] as usize) {
            let streams = self.streams(activations, &batch)?;
            let (dense, places) = (dense.share(), Arc::clone(&places));
            let work = move |context: &mut Context, mut stream: Stream| -> Result<_> {
                let mut seen: Vec<Option<SequenceInput>> = places.iter().map(|_| None).collect();
                let mut observe = |observed: Observed<'_>| {
                    let Observed::Input(input) = observed else {
                        return;
                    };
                    let place = (input.input, input.routed.map(|(expert, _)| expert));
                    if let Some(&place) = places.get(&place) {
                        seen[place] = Some(of_sequence(&input));
                    }
                };
                let model = &context.model;
                let weights = BlockWeights::of_all_rows(dense.get());
                model.attention(block_idx, &mut stream, &weights, &mut observe)?;
                // Nobody reads what the MLP would add.
                model.observe_mlp(block_idx, &stream, &weights, &mut observe)?;
                Ok(seen)
            };
            let mut seen = self.engine.pool().map(streams, work, |_| ())?;
            for (place, sums) in sums.iter_mut().enumerate() {
                let of_input = seen.iter_mut().filter_map(|seen| seen[place].take());
                let of_input: Vec<SequenceInput> = of_input.collect();
                sums.add(self.engine.pool(), &of_input)?;
            }
        }
        let first_layer = self.spec().first_layer(block_idx);
        let named = groups.iter().zip(sums).map(|(group, sums)| {
            let layer = &self.outline.layers[first_layer + group.slots[0]];
            sums.finish(&layer.name, layer.in_features as i64, self.engine.device())
        });
        named.collect()
    }

    /// Compresses a block's missing layers; each file is durable when it is done. `done` is told
    /// how many layers are.
    fn compress(
        &self,
        block_idx: usize,
        groups: Vec<(InputGroup, Statistics)>,
        mut done: impl FnMut(usize),
    ) -> Result<()> {
        let first_layer = self.spec().first_layer(block_idx);
        let mut tasks = Vec::new();
        for (group, statistics) in groups {
            let layers = group.slots.iter().map(|slot| first_layer + slot);
            let layers = layers.filter(|idx| self.missing.contains(&(*idx as u32)));
            let layers = layers.map(|idx| self.to_compress(idx));
            tasks.push((statistics, layers.collect::<Result<Vec<_>>>()?));
        }
        // The longest first, so that no thread is left with it at the end.
        tasks.sort_by_key(|(_, layers)| std::cmp::Reverse(work_of(layers)));
        let counts: Vec<usize> = tasks.iter().map(|(_, layers)| layers.len()).collect();
        let (method, ledger) = (Arc::clone(&self.method), Arc::clone(&self.ledger));
        let work = move |_: &mut Context, (statistics, layers): (Statistics, Vec<ToCompress>)| {
            compress(method.as_ref(), &statistics, &layers, &ledger)
        };
        // Tasks end in any order; the sum over as many is near enough for a progress bar.
        let finished = |tasks: usize| done(counts[..tasks].iter().sum());
        self.engine.pool().map(tasks, work, finished).map(drop)
    }

    /// A layer with the variants that the method makes of it.
    fn to_compress(&self, layer_idx: usize) -> Result<ToCompress> {
        let weight = self
            .dense_weight(layer_idx)?
            .f_to_device(self.engine.device())?;
        let of_method = self.of_method(layer_idx);
        Ok(ToCompress {
            name: self.outline.layers[layer_idx].name.clone(),
            weight: weight.f_to_kind(Kind::Float)?.f_contiguous()?,
            variants: of_method.map_or_else(Vec::new, |layer| layer.variants.clone()),
        })
    }

    /// Runs a block with the weights at the calibration level.
    fn propagate(&self, block_idx: usize, activations: &mut SpilledRows) -> Result<()> {
        let layers = self.spec().layers_of(block_idx);
        let weights = layers.map(|layer_idx| self.calibration_weight(layer_idx));
        let weights = ReadOnly::new(weights.collect::<Result<Vec<Weight>>>()?);
        let size = activations.size();
        for batch in self.batches(size[0] as usize, size[1] as usize) {
            let streams = self.streams(activations, &batch)?;
            let weights = weights.share();
            let work = move |context: &mut Context, mut stream: Stream| -> Result<Stream> {
                let model = &context.model;
                let weights = BlockWeights::of_all_rows(weights.get());
                model.attention(block_idx, &mut stream, &weights, &mut |_| ())?;
                model.mlp(block_idx, &mut stream, &weights, &mut |_| ())?;
                Ok(stream)
            };
            let streams = self.engine.pool().map(streams, work, |_| ())?;
            for (idx, stream) in batch.into_iter().zip(streams) {
                activations.write(idx, stream.residual())?;
            }
        }
        Ok(())
    }

    /// A layer's weight at the level with which calibration goes on.
    fn calibration_weight(&self, layer_idx: usize) -> Result<Weight> {
        let (kind, device) = (self.engine.kind(), self.engine.device());
        let layer = self.of_method(layer_idx);
        let level = layer.and_then(|layer| Some((layer, layer.calibration?)));
        let Some((layer, variant_idx)) = level else {
            let weight = self.dense_weight(layer_idx)?;
            return self.weight(&weight);
        };
        let of_model = &self.outline.layers[layer_idx];
        let shape = (
            of_model.out_features as usize,
            of_model.in_features as usize,
        );
        let path = self.entry.path().join(file_name(&of_model.name));
        let file = LayerFile::open(&path, shape, &layer.variants)?;
        let weight = decode::weight(&file, variant_idx.into(), kind, device)?;
        Ok(Weight::new(weight)?)
    }
}

/// A tensor of a block that layers multiply, and the expert whose tokens it holds.
type Place = (LayerInput, Option<u32>);

fn of_sequence(input: &Input<'_>) -> SequenceInput {
    SequenceInput {
        values: input.values.shallow_clone(),
        has_first_token: input
            .routed
            .is_none_or(|(_, rows)| rows.first() == Some(&0)),
    }
}
