//! Counting what a run holds.

use evopress::device;
use evopress::evaluate::CHANGES_AT_ONCE;
use evopress::genotype::SearchSpace;
use evopress::levels::{BATCH_TOKENS, STATISTICS_BYTES};
use evopress::search::fast;
use evopress::source::Source;
use evopress::source::spec::{BlockSpec, InputGroup, LayerSpec};
use evopress::tensor;
use evopress_plugin::Statistics;
use evopress_spec::{ArtifactFormat, Mode, Plan};
use tch::{Device, Kind};

use super::{Needs, levels};
use crate::setup::{self, UsedMethod};

/// libtorch, tokenizer and plugins.
const BASE_BYTES: u64 = 200 << 20;
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
pub(crate) fn count(
    plan: &Plan,
    source: &Source,
    space: &SearchSpace,
    methods: &[UsedMethod],
    threads: usize,
) -> Needs {
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
    let databases: Vec<(u64, u64)> = databases.collect();
    let database = databases.iter().map(|(others, _)| *others).max();
    let task = databases.iter().map(|(_, task)| *task).max();
    let outside_layers = counted.outside_layers();
    let (responses, returning) = counted.predictions();
    Needs {
        always: BASE_BYTES + counted.tables(),
        database: outside_layers + with_gaps(database.unwrap_or(0)),
        task: with_gaps(task.unwrap_or(0)),
        threads: counted.threads,
        activations: counted.activations(methods),
        search: outside_layers + counted.head() + counted.search() + responses,
        returning,
        weights: counted.dense_weights() + levels::decoded_bytes(space),
        two_blocks: counted.two_blocks(),
        residual_cache: counted.residual_cache(),
        wave: counted.wave(),
        least_wave: counted.threads * counted.longest() * counted.stream(),
        stitch: outside_layers + counted.head() + counted.stitch(),
    }
}

impl Counted<'_> {
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

    /// Of a folder, a layer as it is decoded and as it is written. In other formats that may be the
    /// embedding, which may have to be decoded in f32.
    fn stitch(&self) -> u64 {
        let blocks = self.source.spec().blocks.iter();
        let layers = blocks.flat_map(|block| &block.layers);
        let layer = layers.map(LayerSpec::num_weights).max().unwrap_or(0);
        let mut formats = self.plan.artifacts.iter().map(|artifact| artifact.format);
        let embedding = match formats.any(|format| format == ArtifactFormat::Gguf) {
            true => self.head_weights(),
            false => 0,
        };
        with_gaps(layer.max(embedding) * (FLOAT + 2 * self.bytes_per_weight))
    }

    /// Norms, biases and routers. Rows of the embedding stay in the model's file.
    fn outside_layers(&self) -> u64 {
        let others = self.source.num_parameters() - self.source.spec().num_weights();
        let tables = match self.source.spec().head.tied {
            true => self.head_weights(),
            false => 2 * self.head_weights(),
        };
        others.saturating_sub(tables) * FLOAT
    }

    /// The head as products want it, and while it is made as the file has it.
    fn head(&self) -> u64 {
        self.head_weights() * self.bytes_per_weight
    }

    fn dense_weights(&self) -> u64 {
        self.source.spec().num_weights() * self.bytes_per_weight
    }

    /// The weights of two blocks, the largest that follow one another.
    fn two_blocks(&self) -> u64 {
        let blocks = &self.source.spec().blocks;
        let of_blocks: Vec<u64> = blocks.iter().map(BlockSpec::num_weights).collect();
        let pairs = of_blocks.windows(2).map(|pair| pair.iter().sum::<u64>());
        pairs.max().unwrap_or_else(|| of_blocks.iter().sum()) * self.bytes_per_weight
    }

    /// The residual stream of a token.
    fn stream(&self) -> u64 {
        self.source.spec().hidden_size as u64 * FLOAT
    }

    /// Tokens of the longest sequence.
    fn longest(&self) -> u64 {
        let sets = self.plan.evaluation.iter().map(|set| set.sequence_length);
        let longest = sets.chain([self.plan.calibration.sequence_length]).max();
        longest.unwrap_or(1).into()
    }

    /// Activations of the text that the methods with statistics see.
    fn activations(&self, methods: &[UsedMethod]) -> u64 {
        let has_statistics = |it: &UsedMethod| it.method.statistics() != Statistics::None;
        match methods.iter().any(has_statistics) {
            true => self.plan.database.tokens * self.stream(),
            false => 0,
        }
    }

    /// Streams of a parent between all blocks, of the calibration text.
    fn residual_cache(&self) -> u64 {
        let blocks = self.source.spec().num_blocks() as u64 - 1;
        self.plan.calibration.tokens * blocks * self.stream()
    }

    /// Streams of the largest stage of the search.
    fn wave(&self) -> u64 {
        let length = u64::from(self.plan.calibration.sequence_length);
        let largest = match self.plan.search.mode {
            Mode::Paper => {
                let settings = setup::search_settings(self.plan, self.space);
                let mut entrants = settings.offspring;
                let stages = settings.stages.iter().map(|stage| {
                    let sequences = entrants * stage.num_sequences;
                    entrants = stage.survivors + 1;
                    sequences
                });
                let initial = settings.initial_genotypes * settings.initial_sequences;
                stages.max().unwrap_or(1).max(initial) as u64
            }
            Mode::Fast => self.plan.calibration.tokens / length,
        };
        let evaluated = self.plan.evaluation.iter().map(|set| set.tokens).max();
        (largest * length).max(evaluated.unwrap_or(0)) * self.stream()
    }

    fn head_weights(&self) -> u64 {
        let spec = self.source.spec();
        (spec.vocab_size * spec.hidden_size) as u64
    }

    /// While a database is built, beyond what is always there and activations between blocks: but
    /// for tasks, and of each task.
    fn database(&self, wanted: Statistics) -> (u64, u64) {
        let (spec, text) = (self.source.spec(), &self.plan.database);
        let hidden = spec.hidden_size as u64;
        let length = u64::from(text.sequence_length);
        let batch = match wanted {
            Statistics::None => 0,
            _ => (BATCH_TOKENS as u64 / length).max(self.threads) * length,
        };
        let blocks = spec.blocks.iter();
        let of_blocks = blocks.map(|block| self.database_block(block, wanted, batch));
        let of_blocks: Vec<(u64, u64)> = of_blocks.collect();
        let others = of_blocks.iter().map(|(others, _)| *others).max();
        let task = of_blocks.iter().map(|(_, task)| *task).max();
        // Streams of a batch, before and after the block.
        let streams = 2 * batch * hidden * FLOAT;
        (streams + others.unwrap_or(0), task.unwrap_or(0))
    }

    /// While a block's layers are compressed, or their inputs collected: but for tasks, and of
    /// each.
    fn database_block(&self, block: &BlockSpec, wanted: Statistics, batch: u64) -> (u64, u64) {
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
        let task = tasks.max().unwrap_or(0);
        (statistics + collecting.saturating_sub(task), task)
    }

    /// While layers that share an input are compressed.
    fn task(&self, block: &BlockSpec, group: &InputGroup, wanted: Statistics) -> u64 {
        let layers = group.slots.iter().map(|slot| &block.layers[*slot]);
        let largest = layers.clone().map(LayerSpec::num_weights).max();
        let largest = largest.unwrap_or(0);
        let weights = layers.map(LayerSpec::num_weights).sum::<u64>();
        let at_all_levels = weights * self.most_variants;
        let squares = match wanted {
            Statistics::Hessian => SQUARES_OF_A_TASK * square(block, group),
            _ => 0,
        };
        let batch = at_all_levels.min(BATCH_WEIGHTS.max(largest));
        weights * FLOAT + squares + COPIES_OF_A_BATCH * batch * FLOAT
    }

    /// While genotypes are evaluated, beyond weights and what is always there.
    fn search(&self) -> u64 {
        let (plan, spec) = (self.plan, self.source.spec());
        let evaluated: u64 = plan.evaluation.iter().map(|set| set.tokens).sum();
        let targets = (plan.calibration.tokens + evaluated) * (self.stream() + 8);
        let logits = 128 * FLOAT * 3 * spec.vocab_size as u64;
        let passes = self.threads * (self.longest() * self.widest_block() * FLOAT + logits);
        targets + with_gaps(passes + self.made_at_once())
    }

    /// Weights of levels that are being packed, one on each thread and one that is read ahead.
    /// Dense ones are packed as they are read.
    fn made_at_once(&self) -> u64 {
        if self.most_variants == 0 {
            return 0;
        }
        let blocks = self.source.spec().blocks.iter();
        let layers = blocks.flat_map(|block| &block.layers);
        let largest = layers.map(LayerSpec::num_weights).max().unwrap_or(0);
        (self.threads + 1) * largest * self.bytes_per_weight
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

    /// What a fast search has in memory more than the paper's: responses of tokens to every level
    /// change; and on each thread a block with its gradients.
    fn predictions(&self) -> (u64, u64) {
        if self.plan.search.mode == Mode::Paper {
            return (0, 0);
        }
        let (plan, spec) = (self.plan, self.source.spec());
        let tuning = fast::Tuning::default().gradients;
        let settings = setup::fast_settings(plan);
        let length = u64::from(plan.calibration.sequence_length);
        let stream = spec.hidden_size as u64 * spec.num_blocks() as u64 * FLOAT;
        // Of tokens where only sub-blocks are at stake there is one.
        let samples = match self.most_variants {
            0 => 1,
            _ => tuning.samples_while_unsure as u64,
        };
        let (changes, sequences) = (self.num_changes(), settings.gradient_sequences as u64);
        let response = changes * FLOAT;
        let of_pass = sequences * length * samples * response;
        let blocks = spec.blocks.iter().map(BlockSpec::num_weights);
        let kind = device::kind(&plan.model.dtype.to_string()).unwrap_or(Kind::Float);
        let product = tensor::product_kind(kind, Device::Cpu).elt_size_in_bytes() as u64;
        let block = blocks.max().unwrap_or(0) * product;
        // What layers read and put out, what autograd keeps between them, and the gradient of every
        // output by the loss and by each sample; responses to all, and of the samples once more.
        let traced = (2 + 1 + samples) * self.widest_block() * FLOAT;
        let of_thread = block + length * (stream + traced + (1 + 2 * samples) * response);
        let kept = (KEPT_PASSES * of_pass).min(2 * tuning.response_bytes as u64);
        let products = (changes * changes * 8).min(tuning.product_bytes as u64);
        // The pass is put together when its threads are done, some changes at a time.
        let at_once = changes.min(CHANGES_AT_ONCE as u64) * FLOAT;
        let copies = COPIES_OF_RESPONSES * sequences * length * samples * at_once;
        let together = of_pass + copies;
        let responses = of_pass + kept + products + together.saturating_sub(of_thread);
        (with_gaps(responses), with_gaps(of_thread))
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
