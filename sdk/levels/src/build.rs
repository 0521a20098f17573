//! Building a database, block by block (see the crate's documentation).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use evopress_cache::{Entry, Manifest};
use evopress_model::{BlockWeights, Context, Engine, Input, Observed, Stream};
use evopress_plugin::{Method, ModelOutline, Statistics as Wanted};
use evopress_search::genotype::LayerVariants;
use evopress_source::spec::{InputGroup, LayerInput};
use evopress_source::{Corpus, ModelSpec, Source};
use evopress_tensor::{ReadOnly, SpilledRows, Weight};
use tch::Tensor;

use crate::compress::{ToCompress, compress, dense_weight, work_of};
use crate::error::Result;
use crate::file::file_name;
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
    pub(crate) engine: &'a Engine,
    pub(crate) source: Arc<Source>,
    pub(crate) outline: ModelOutline,
    method: SharedMethod,
    layers: &'a [LayerVariants],
    first_token_share: f64,
    tasks_at_once: usize,
    pub(crate) entry: Entry,
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
            tasks_at_once: usize::MAX,
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

    /// How many groups of layers with the same inputs are compressed at a time, at least one: each
    /// takes several times the memory of its second moment. As many as there are threads unless
    /// told otherwise.
    #[must_use]
    pub fn with_tasks_at_once(self, tasks_at_once: usize) -> Self {
        Self {
            tasks_at_once: tasks_at_once.max(1),
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

    pub(crate) fn spec(&self) -> &ModelSpec {
        self.source.spec()
    }

    /// What the method makes of a layer, if anything.
    pub(crate) fn of_method(&self, layer_idx: usize) -> Option<&LayerVariants> {
        let at = self
            .layers
            .binary_search_by_key(&(layer_idx as u32), |layer| layer.layer_idx);
        at.ok().map(|at| &self.layers[at])
    }

    pub(crate) fn name(&self, layer_idx: usize) -> &str {
        &self.outline.layers[layer_idx].name
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

    /// A block's dense weights.
    fn dense_weights(&self, block_idx: usize) -> Result<ReadOnly<Vec<Weight>>> {
        let weights = self.spec().layers_of(block_idx).map(|layer_idx| {
            let weight = dense_weight(&self.source, self.name(layer_idx))?;
            self.weight(&weight)
        });
        Ok(ReadOnly::new(weights.collect::<Result<_>>()?))
    }

    /// A weight as products on the run's device want it.
    pub(crate) fn weight(&self, weight: &Tensor) -> Result<Weight> {
        let weight = weight.f_to_kind(self.engine.kind())?;
        Ok(Weight::new(weight.f_to_device(self.engine.device())?)?)
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

    /// Compresses a block's missing layers, so many groups at a time as may be; each file is
    /// durable when it is done. `done` is told how many layers are.
    fn compress(
        &self,
        block_idx: usize,
        groups: Vec<(InputGroup, Statistics)>,
        mut done: impl FnMut(usize),
    ) -> Result<()> {
        let first_layer = self.spec().first_layer(block_idx);
        let tasks = groups.into_iter().map(|(group, statistics)| {
            let layers = group.slots.iter().map(|slot| first_layer + slot);
            let layers = layers.filter(|idx| self.missing.contains(&(*idx as u32)));
            let layers = layers.map(|idx| self.to_compress(idx)).collect();
            (statistics, layers)
        });
        let mut tasks: Vec<(Statistics, Vec<ToCompress>)> = tasks.collect();
        // The longest first, so that no thread is left with it at the end.
        tasks.sort_by_key(|(_, layers)| std::cmp::Reverse(work_of(layers)));
        let mut before = 0;
        while !tasks.is_empty() {
            let count = self.tasks_at_once.min(tasks.len());
            let at_once: Vec<_> = tasks.drain(..count).collect();
            let counts: Vec<usize> = at_once.iter().map(|(_, layers)| layers.len()).collect();
            let (source, device) = (Arc::clone(&self.source), self.engine.device());
            let (method, ledger) = (Arc::clone(&self.method), Arc::clone(&self.ledger));
            let work = move |_: &mut Context, (statistics, layers): (_, Vec<ToCompress>)| {
                let weights = layers.iter().map(|layer| layer.weight(&source, device));
                let weights = weights.collect::<Result<Vec<_>>>()?;
                compress(method.as_ref(), &statistics, &layers, &weights, &ledger)
            };
            // Tasks end in any order; the sum over as many is near enough for a progress bar.
            let finished = |tasks: usize| done(before + counts[..tasks].iter().sum::<usize>());
            self.engine.pool().map(at_once, work, finished)?;
            before += counts.iter().sum::<usize>();
        }
        Ok(())
    }

    /// A layer with the variants that the method makes of it.
    fn to_compress(&self, layer_idx: usize) -> ToCompress {
        let of_method = self.of_method(layer_idx);
        let of_model = &self.outline.layers[layer_idx];
        ToCompress {
            name: of_model.name.clone(),
            shape: (of_model.out_features, of_model.in_features),
            variants: of_method.map_or_else(Vec::new, |layer| layer.variants.clone()),
        }
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
