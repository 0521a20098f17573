//! What a run will need, before it starts: counted operations and bytes, and the measured rate of
//! this machine's matrix products.

use std::time::Instant;

use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress::source::spec::BlockSpec;
use evopress_plugin::{LayerOutline, Variant};
use evopress_spec::{Mode, Plan};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::compute::Machine;
use crate::memory::{Peak, levels};
use crate::setup;

/// Share of the matrix rate that a forward pass reaches, from benchmarks.
const EFFICIENCY: f64 = 0.7;
/// About what a fast search without a limit takes until it ends by itself.
const FAST_TOKENS: u64 = 400_000;

/// Estimates. The memory is an upper bound; the time is for this machine when nothing else runs on
/// it.
#[derive(Debug, Serialize)]
pub(crate) struct Needs {
    seconds: f64,
    memory_bytes: u64,
    device_memory_bytes: u64,
    disk_bytes: u64,
    /// The least memory of the device that computes, with which a run is slower.
    least_bytes: u64,
    /// What the device that computes has left.
    granted_bytes: u64,
    /// By what that is limited: `free on this machine`.
    granted_by: String,
}

impl Needs {
    /// For the run of `plan` on this machine, which takes so much memory at its peak.
    pub(crate) fn estimate(
        plan: &Plan,
        source: &Source,
        space: &SearchSpace,
        machine: &Machine,
        (peak, least_bytes): (&Peak, u64),
    ) -> Self {
        let bytes_per_weight = u64::from(setup::bytes_per_weight(plan.model.dtype));
        let weights = source.num_parameters() * bytes_per_weight;
        let is_on_gpu = machine.device.is_cuda();
        // Each artifact, and where it is published to.
        let artifacts = 2 * plan.artifacts.len() as u64 * weights;
        Self {
            seconds: flops(plan, source, space) / (matrix_rate() * EFFICIENCY),
            memory_bytes: match is_on_gpu {
                true => peak.always,
                false => peak.always + peak.computing,
            },
            device_memory_bytes: match is_on_gpu {
                true => peak.computing,
                false => 0,
            },
            disk_bytes: artifacts + levels::packed_bytes(space) + (16 << 20),
            least_bytes,
            granted_bytes: machine.granted.bytes,
            granted_by: machine.granted.limit.to_string(),
        }
    }
}

/// Floating-point operations of the whole run.
fn flops(plan: &Plan, source: &Source, space: &SearchSpace) -> f64 {
    let head = head_weights(source) as f64;
    let body = body_weights(source);
    let searched = searched_tokens(plan, space) as f64;
    let calibrated = plan.calibration.tokens as f64;
    let evaluated = evaluated_tokens(plan) as f64;
    // Targets cost a dense pass and an f32 product with the head; evaluation has the dense model,
    // the result and three baselines.
    2.0 * searched * (body * space.forward_share() + head)
        + 2.0 * calibrated * (body + 3.0 * head)
        + 2.0 * evaluated * (5.0 * (body + head) + 3.0 * head)
        + database_flops(plan, source, space)
}

/// Weights that a token passes between the embedding and the head: of experts, those that it takes.
fn body_weights(source: &Source) -> f64 {
    let blocks = source.spec().blocks.iter();
    blocks.map(BlockSpec::num_active_weights).sum()
}

/// Tokens that go forward through a compressed model during the search.
fn searched_tokens(plan: &Plan, space: &SearchSpace) -> u64 {
    if plan.search.mode == Mode::Fast {
        return plan.search.limit.forward_tokens.unwrap_or(FAST_TOKENS);
    }
    let settings = setup::search_settings(plan, space);
    let last = settings.stages.len().saturating_sub(1);
    let mut sequences_a_generation = 0;
    let mut entrants = settings.offspring;
    for (idx, stage) in settings.stages.iter().enumerate() {
        let parent = usize::from(idx == last);
        sequences_a_generation += (entrants + parent) * stage.num_sequences;
        entrants = stage.survivors;
    }
    let in_last_stage = settings.stages.last().map_or(1, |it| it.num_sequences);
    let sequences = settings.generations as usize * sequences_a_generation
        + settings.initial_genotypes * settings.initial_sequences
        + plan.baselines.random as usize * in_last_stage;
    sequences as u64 * u64::from(plan.calibration.sequence_length)
}

fn evaluated_tokens(plan: &Plan) -> u64 {
    plan.evaluation.iter().map(|set| set.tokens).sum()
}

fn head_weights(source: &Source) -> u64 {
    let spec = source.spec();
    (spec.vocab_size * spec.hidden_size) as u64
}

/// Floating-point operations of the level databases: two passes through the blocks, the inputs'
/// second moments, and for each variant a sweep over the columns and the measuring of its error. An
/// upper bound: a method may need less, and a database that is there already needs nothing.
fn database_flops(plan: &Plan, source: &Source, space: &SearchSpace) -> f64 {
    let tokens = plan.database.tokens as f64;
    let of_layer = |(layer, variants): (&LayerOutline, &[Variant])| {
        let (rows, columns) = (layer.out_features as f64, layer.in_features as f64);
        let block = &source.spec().blocks[layer.block_idx as usize];
        tokens * block.share_of(layer.expert_idx) * columns * columns
            + 3.0 * variants.len() as f64 * rows * columns * columns
    };
    let layers: f64 = levels::variants(space).map(of_layer).sum();
    match layers > 0.0 {
        true => 4.0 * tokens * body_weights(source) + layers,
        false => 0.0,
    }
}

/// Floating-point operations a second of a product on this machine, measured in a few milliseconds:
/// in bf16 where the CPU has units for it, in f32 elsewhere.
fn matrix_rate() -> f64 {
    // On one thread: several would wait for each other on a busy machine.
    tch::set_num_threads(1);
    let _no_grad = tch::no_grad_guard();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kind = evopress::tensor::product_kind(Kind::BFloat16, Device::Cpu);
    let size = 384;
    let a = Tensor::zeros([size, size], (kind, Device::Cpu));
    let mut best = f64::INFINITY;
    for _ in 0..16 {
        let began = Instant::now();
        let _product = a.matmul(&a);
        best = best.min(began.elapsed().as_secs_f64());
    }
    cores as f64 * 2.0 * (size as f64).powi(3) / best
}
