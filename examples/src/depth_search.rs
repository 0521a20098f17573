//! The engine as a library: search which quarter of a model's blocks to leave out, with a fitness
//! of one's own.
//!
//! `cargo run -p evopress-examples --bin depth-search -- MODEL TEXT`, where MODEL is a Hugging Face
//! folder or a GGUF file of the Llama architecture and TEXT some UTF-8 text of 20 kB or more.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use evopress::evaluate::CalibratedFitness;
use evopress::genotype::SearchSpace;
use evopress::model::Engine;
use evopress::model::Model;
use evopress::search::{self, SelectionStage, Settings};
use evopress::source::Corpus;
use evopress::source::Source;
use evopress_plugin::{
    Chunk, Edit, Fitness, GroupBudget, HeadOps, Level, ModelOutline, PluginError, SubBlock, Target,
    TargetView, Unit,
};
use tch::{Device, Kind};

const SEQUENCE_LENGTH: usize = 256;

/// Cross-entropy of the next token, `log Σ exp(W h) − ⟨h, W[next]⟩`: no dense model needed.
struct CrossEntropy;

impl Fitness for CrossEntropy {
    fn target(&self, _: &dyn HeadOps, _: &Chunk<'_>) -> Result<Target, PluginError> {
        Ok(Target::default())
    }

    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        _: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        let sums = ops.log_sum_exp(&student.hidden)?;
        let logits = ops.token_logits(&student.hidden, student.next_tokens)?;
        Ok(sums
            .iter()
            .zip(logits)
            .map(|(sum, logit)| sum - logit)
            .collect())
    }

    fn needs_target(&self) -> bool {
        false
    }
}

fn main() -> Result<()> {
    evopress::device::tune_allocator();
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().context("usage: depth-search MODEL TEXT")?;
    let text = arguments.next().context("usage: depth-search MODEL TEXT")?;

    let source = Arc::new(Source::open(&model)?);
    let num_blocks = source.spec().num_blocks();
    let space = whole_blocks(num_blocks, num_blocks / 4)?;
    let tokenizer = source.tokenizer()?;
    let bos = source.bos_rule(&tokenizer)?.prepended();
    let corpus = Corpus::read(
        &text,
        &tokenizer,
        bos,
        16 * SEQUENCE_LENGTH,
        SEQUENCE_LENGTH,
    )?;

    let model = Model::open(&source, Kind::BFloat16, Device::Cpu, Vec::new(), u64::MAX)?;
    let threads = std::thread::available_parallelism()?.get();
    let engine = Engine::new(
        model,
        threads,
        SEQUENCE_LENGTH,
        Arc::new(AtomicBool::new(false)),
    )?;
    let mut fitness = CalibratedFitness::new(&engine, &space, Arc::new(CrossEntropy), corpus);
    let settings = Settings {
        generations: 5,
        offspring: 8,
        initial_genotypes: 8,
        initial_sequences: 1,
        stages: vec![
            SelectionStage {
                num_sequences: 1,
                survivors: 2,
            },
            SelectionStage {
                num_sequences: 4,
                survivors: 1,
            },
        ],
        seed: 0,
    };
    let start = search::initial(&space, &mut fitness, &settings, &[])?;
    let best = search::run(&space, &mut fitness, &settings, start, |state| {
        println!(
            "generation {}: perplexity {:.2}",
            state.generation,
            state.fitness.exp()
        );
        Ok(())
    })?;
    for (unit, level) in space.describe(&best.parent) {
        println!("{unit}: {level}");
    }
    Ok(())
}

/// Every block is a unit that is kept (cost 1) or dropped (cost 0).
fn whole_blocks(num_blocks: usize, num_dropped: usize) -> Result<SearchSpace> {
    let units = (0..num_blocks as u32).map(|block_idx| Unit {
        name: format!("model.layers.{block_idx}"),
        group: "block".into(),
        block_idx,
        layer_idxs: vec![],
        calibration_level: 0,
        levels: vec![
            Level {
                name: "keep".into(),
                cost: 1,
                edits: vec![],
            },
            Level {
                name: "drop".into(),
                cost: 0,
                edits: vec![
                    Edit::drop(block_idx, SubBlock::Attention),
                    Edit::drop(block_idx, SubBlock::Mlp),
                ],
            },
        ],
    });
    let budget = GroupBudget {
        group: "block".into(),
        max_cost: (num_blocks - num_dropped) as u64,
    };
    let outline = ModelOutline {
        num_blocks: num_blocks as u32,
        layers: vec![],
        bytes_per_weight: 2,
    };
    Ok(SearchSpace::with_budgets(
        &outline,
        units.collect(),
        &[budget],
    )?)
}
