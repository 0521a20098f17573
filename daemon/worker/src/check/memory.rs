//! The memory that a run will take at its peak, counted by what it holds.
//!
//! A run holds least twice: while it builds level databases it has no weights but those of one
//! block, while it searches it has no statistics. So the peak is the larger of the two, on top of
//! what is always there.

use evopress::evaluate::CHANGES_AT_ONCE;
use evopress::genotype::SearchSpace;
use evopress::levels::{BATCH_TOKENS, STATISTICS_BYTES};
use evopress::search::fast;
use evopress::source::Source;
use evopress::source::spec::{BlockSpec, InputGroup, LayerSpec};
use evopress_plugin::Statistics;
use evopress_spec::{Mode, Plan};

use super::levels;
use crate::setup::{self, UsedMethod};
use crate::{compute, process};

/// libtorch, tokenizer and plugins.
const BASE_BYTES: u64 = 500 << 20;
/// Of f32.
const FLOAT: u64 = 4;
/// Names, shapes, places and edits of a linear layer, and as much for each of its variants.
const LAYER_BYTES: u64 = 2 << 10;
/// Square matrices of a layer's width beside its second moment: the one that is damped, its factor,
/// that one's inverse, and what libtorch makes on the way.
const SQUARES_OF_A_TASK: u64 = 6;
/// Copies of the rows that a method works on at once: in f32, as codes, packed and decoded.
const COPIES_OF_A_BATCH: u64 = 4;
/// Weights that a method works on at once, unless one layer has more.
const BATCH_WEIGHTS: u64 = 1 << 26;
/// The heap keeps what is freed, for speed. Where much comes and goes, the gaps between what is
/// held are one part of so many.
const GAPS: u64 = 4;
/// Copies of the responses to some changes: squares, limits, and what is within them.
const COPIES_OF_RESPONSES: u64 = 4;
/// Passes at one origin whose responses are kept, at most, while they take little memory.
const KEPT_PASSES: u64 = 8;

/// The peak of a run's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// What a run takes of the machine's memory whatever device computes: libraries, mapped files,
    /// tables.
    pub(super) always: u64,
    /// Where the run computes.
    pub(super) computing: u64,
}

/// What is counted with.
struct Counted<'a> {
    plan: &'a Plan,
    source: &'a Source,
    space: &'a SearchSpace,
    threads: u64,
    bytes_per_weight: u64,
    /// Variants of a layer by one method, at most.
    most_variants: u64,
}

/// For a run of `plan` on so many compute threads.
pub(super) fn of(
    plan: &Plan,
    source: &Source,
    space: &SearchSpace,
    methods: &[UsedMethod],
    threads: usize,
) -> Memory {
    let counts = levels::variants(space).map(|(_, variants)| variants.len() as u64);
    let counted = Counted {
        plan,
        source,
        space,
        threads: threads as u64,
        bytes_per_weight: setup::bytes_per_weight(plan.model.dtype).into(),
        most_variants: counts.max().unwrap_or(0),
    };
    let databases = methods.iter().zip(0..).filter_map(|(method, method_idx)| {
        let has_levels = !space.variants(method_idx).is_empty();
        has_levels.then(|| counted.database(method.method.statistics()))
    });
    let database = databases.max().unwrap_or(0);
    Memory {
        always: BASE_BYTES + counted.mapped() + counted.tables(),
        computing: counted.outside_layers() + with_gaps(database).max(counted.search()),
    }
}

impl Counted<'_> {
    /// Files that are read through a map: the model's, the levels, and an artifact.
    fn mapped(&self) -> u64 {
        let files = self.source.digest_files().into_iter();
        let bytes = files.filter_map(|file| std::fs::metadata(file).ok());
        let of_model: u64 = bytes.map(|it| it.len()).sum();
        let artifact = self.source.num_parameters() * self.bytes_per_weight;
        of_model + levels::packed_bytes(self.space) + artifact
    }

    /// The search space, and genotypes as models.
    fn tables(&self) -> u64 {
        let layers = self.space.outline().layers.len() as u64;
        let genotypes = match self.plan.search.mode {
            Mode::Fast => u64::from(self.plan.baselines.random) + 64,
            Mode::Paper => u64::from(self.plan.search.offspring) + 64,
        };
        let variants: u64 = levels::variants(self.space)
            .map(|(_, variants)| variants.len() as u64)
            .sum();
        (layers + variants) * LAYER_BYTES + genotypes * layers * 16
    }

    /// The embedding, the norms and the head, and the head once more as products want it.
    fn outside_layers(&self) -> u64 {
        let others = self.source.num_parameters() - self.source.spec().num_weights();
        (others + self.head_weights()) * self.bytes_per_weight
    }

    fn head_weights(&self) -> u64 {
        let spec = self.source.spec();
        (spec.vocab_size * spec.hidden_size) as u64
    }

    /// While a database is built, beyond what is always there.
    fn database(&self, wanted: Statistics) -> u64 {
        let (spec, text) = (self.source.spec(), &self.plan.database);
        let hidden = spec.hidden_size as u64;
        let length = u64::from(text.sequence_length);
        let (activations, batch) = match wanted {
            Statistics::None => (0, 0),
            _ => {
                let batch = BATCH_TOKENS as u64 / length;
                (
                    text.tokens * hidden * FLOAT,
                    batch.max(self.threads) * length,
                )
            }
        };
        let blocks = spec.blocks.iter();
        let of_blocks = blocks.map(|block| self.database_block(block, wanted, batch));
        // Streams of a batch, before and after the block.
        activations + 2 * batch * hidden * FLOAT + of_blocks.max().unwrap_or(0)
    }

    /// While a block's layers are compressed, or their inputs collected.
    fn database_block(&self, block: &BlockSpec, wanted: Statistics, batch: u64) -> u64 {
        let groups = block.layers_by_input();
        let squares = |group: &InputGroup| match wanted {
            Statistics::Hessian => square(block, group),
            _ => 0,
        };
        let largest = groups.iter().map(squares).max().unwrap_or(0);
        let all: u64 = groups.iter().map(squares).sum();
        let statistics = all.min(STATISTICS_BYTES.max(largest));
        let inputs = groups.iter().map(|group| {
            let share = block.share_of(group.expert);
            (batch as f64 * share * width(block, group) as f64) as u64 * FLOAT
        });
        let weights = block.num_weights();
        // What is collected of all inputs, then put together and transposed for one after another;
        // a sum that is finished is whole, half and transposed for a moment.
        let collecting = weights * self.bytes_per_weight + 3 * inputs.sum::<u64>() + 3 * largest;
        let tasks = groups.iter().map(|group| self.task(block, group, wanted));
        let compressing = weights * FLOAT + self.threads * tasks.max().unwrap_or(0);
        statistics + collecting.max(compressing)
    }

    /// While layers that share an input are compressed.
    fn task(&self, block: &BlockSpec, group: &InputGroup, wanted: Statistics) -> u64 {
        let layers = group.slots.iter().map(|slot| &block.layers[*slot]);
        let largest = layers.clone().map(LayerSpec::num_weights).max();
        let largest = largest.unwrap_or(0);
        let at_all_levels = layers.map(LayerSpec::num_weights).sum::<u64>() * self.most_variants;
        let squares = match wanted {
            Statistics::Hessian => SQUARES_OF_A_TASK * square(block, group),
            _ => 0,
        };
        let batch = at_all_levels.min(BATCH_WEIGHTS.max(largest));
        squares + COPIES_OF_A_BATCH * batch * FLOAT
    }

    /// While genotypes are evaluated, beyond what is always there.
    fn search(&self) -> u64 {
        let (plan, spec) = (self.plan, self.source.spec());
        let hidden = spec.hidden_size as u64;
        // Weights, dense and at their levels, stay decoded while memory lasts.
        let dense = spec.num_weights() * self.bytes_per_weight;
        let weights = dense + levels::decoded_bytes(self.space);
        let weights = weights.min(dense.max(process::available_memory_bytes() / 2));
        let evaluated: u64 = plan.evaluation.iter().map(|set| set.tokens).sum();
        let targets = (plan.calibration.tokens + evaluated) * (hidden * FLOAT + 8);
        let logits = 128 * FLOAT * 3 * spec.vocab_size as u64;
        let sets = plan.evaluation.iter().map(|set| set.sequence_length);
        let longest = sets.chain([plan.calibration.sequence_length]).max();
        let longest = u64::from(longest.unwrap_or(1));
        let passes = self.threads * (longest * self.widest_block() * FLOAT + logits);
        let for_predictions = match plan.search.mode {
            Mode::Paper => 0,
            Mode::Fast => self.predictions(),
        };
        weights + targets + with_gaps(passes) + for_predictions
    }

    /// Numbers of a token that a block's layers read and put out, of experts those that it takes.
    fn widest_block(&self) -> u64 {
        let of_block = |block: &BlockSpec| -> f64 {
            let of_layer = |layer: &LayerSpec| {
                (layer.in_features + layer.out_features) as f64 * block.share_of(layer.expert)
            };
            block.layers.iter().map(of_layer).sum()
        };
        let blocks = self.source.spec().blocks.iter().map(of_block);
        blocks.fold(0.0, f64::max) as u64
    }

    /// What a fast search has in memory more than the paper's: its parent's streams between blocks;
    /// the head in f32; on each thread a block with its gradients; responses of tokens to every
    /// level change.
    fn predictions(&self) -> u64 {
        let (plan, spec) = (self.plan, self.source.spec());
        let tuning = fast::Tuning::default().gradients;
        let settings = setup::fast_settings(plan);
        let length = u64::from(plan.calibration.sequence_length);
        let stream = spec.hidden_size as u64 * spec.num_blocks() as u64 * FLOAT;
        let streams = plan.calibration.tokens * stream;
        let streams = streams.min(compute::residual_cache_limit_bytes());
        let samples = tuning.samples_while_unsure as u64;
        let (changes, sequences) = (self.num_changes(), settings.gradient_sequences as u64);
        let response = changes * FLOAT;
        let of_pass = sequences * length * samples * response;
        let blocks = spec.blocks.iter().map(BlockSpec::num_weights);
        let block = blocks.max().unwrap_or(0) * FLOAT;
        // What layers read and put out, what autograd keeps between them, and the gradient of every
        // output by the loss and by each sample; responses to all, and of the samples once more.
        let traced = (2 + 1 + samples) * self.widest_block() * FLOAT;
        let of_thread = block + length * (stream + traced + (1 + 2 * samples) * response);
        let threads = self.threads.min(sequences);
        let kept = (KEPT_PASSES * of_pass).min(2 * tuning.response_bytes as u64);
        let products = (changes * changes * 8).min(tuning.product_bytes as u64);
        let head = self.head_weights() * FLOAT;
        // The pass is put together when its threads are done, some changes at a time.
        let at_once = changes.min(CHANGES_AT_ONCE as u64) * FLOAT;
        let copies = COPIES_OF_RESPONSES * sequences * length * samples * at_once;
        let together = of_pass + copies;
        let responses = of_pass + kept + products + together.max(threads * of_thread);
        streams + head + with_gaps(responses)
    }

    /// Level changes whose effects are predicted: to the next levels of each method, both ways.
    fn num_changes(&self) -> u64 {
        let ways = 2 * self.space.num_methods();
        let units = self.space.units().iter();
        units
            .map(|unit| (unit.levels.len() - 1).min(ways) as u64)
            .sum()
    }
}

/// What comes and goes, with the gaps that it leaves in the heap.
fn with_gaps(bytes: u64) -> u64 {
    bytes + bytes / GAPS
}

fn width(block: &BlockSpec, group: &InputGroup) -> u64 {
    block.layers[group.slots[0]].in_features as u64
}

/// Bytes of the second moment of an input.
fn square(block: &BlockSpec, group: &InputGroup) -> u64 {
    FLOAT * width(block, group).pow(2)
}
