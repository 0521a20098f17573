//! Less memory than the weights take: the same numbers, and each weight made once a wave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use evopress_levels::Database;
use evopress_model::{Engine, LevelSource};
use evopress_search::Fitness;
use evopress_search::fitness::BlockCosines;
use evopress_search::genotype::{Genotype, WeightId};
use evopress_search::prediction::{LevelChange, PredictionRequest, Predictions};
use tch::{Device, Kind, Tensor};

use crate::fitness::CalibratedFitness;
use crate::quality::{Quality, Reference};
use crate::routing::ExpertUse;
use crate::small_models::{CrossEntropy, LENGTH, corpus, open_within};

const NUM_SEQUENCES: usize = 4;

/// A database that counts what it decodes.
struct Counted {
    database: Database,
    decoded: Arc<AtomicUsize>,
}

impl LevelSource for Counted {
    fn decode(
        &self,
        id: WeightId,
        kind: Kind,
        device: Device,
    ) -> Result<Tensor, Box<dyn std::error::Error + Send + Sync>> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        Ok(self.database.decode(id, kind, device)?)
    }
}

/// All that a search asks of a model.
#[derive(Debug, PartialEq)]
struct Answers {
    losses: Vec<Vec<f64>>,
    offspring: Vec<Vec<f64>>,
    predictions: Option<Predictions>,
    cosines: Option<BlockCosines>,
    routing: Vec<ExpertUse>,
    quality: Quality,
}

/// Limits on weights and on waves, in bytes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    weights: u64,
    wave: u64,
}

const RESIDENT: Limits = Limits {
    weights: u64::MAX,
    wave: 0,
};

/// What a fixture answers, and how many weights of levels the first losses took.
fn answers(fixture: &str, kind: Kind, limits: Limits, num_threads: usize) -> (Answers, usize) {
    let folder = tempfile::tempdir().unwrap();
    let decoded = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&decoded);
    let (model, space) = open_within(fixture, folder.path(), kind, limits.weights, |database| {
        Arc::new(Counted {
            database,
            decoded: counted,
        })
    });
    let engine = Engine::new(model, num_threads, LENGTH, Arc::new(AtomicBool::new(false)));
    let engine = engine.unwrap().with_wave_bytes(limits.wave);
    let engine = match limits.weights {
        0 => engine.with_returns_at_once(1),
        _ => engine,
    };
    let all: Vec<usize> = (0..NUM_SEQUENCES).collect();
    let sequences = corpus(engine.spec().vocab_size, NUM_SEQUENCES);
    let sequences = Arc::into_inner(sequences).unwrap();
    let cross_entropy = Arc::new(CrossEntropy { has_gradient: true });
    let mut fitness = CalibratedFitness::new(&engine, &space, cross_entropy, sequences.clone());
    fitness.limit_residual_cache(1 << 20);
    let parent = Genotype(
        (0..space.units().len())
            .map(|idx| u16::from(idx % 7 != 0))
            .collect(),
    );
    let mut swapped = parent.clone();
    swapped.0.swap(0, 1);
    fitness.set_parent(&parent);
    let losses = fitness.losses(std::slice::from_ref(&parent), &all).unwrap();
    let num_decoded = decoded.load(Ordering::Relaxed);
    let offspring = fitness.losses(&[swapped.clone(), parent.clone()], &all);
    let changes = (0..space.units().len()).map(|unit_idx| LevelChange {
        unit_idx,
        level: 1 - parent.level(unit_idx),
    });
    let changes: Vec<LevelChange> = changes.collect();
    let request = PredictionRequest {
        parent: &parent,
        changes: &changes,
        sequence_idxs: &all[..3],
        samples_of_levels: 2,
        seed: 1,
        pass: 1,
    };
    let reference = Reference::new(&engine, sequences, |_| ()).unwrap();
    let answers = Answers {
        losses,
        offspring: offspring.unwrap(),
        predictions: fitness.predict(&request).unwrap(),
        cosines: fitness.block_cosines(&all, 1).unwrap(),
        routing: fitness.routing(NUM_SEQUENCES).unwrap(),
        quality: reference
            .measure(&engine, &space.candidate(&swapped), |_| ())
            .unwrap(),
    };
    (answers, num_decoded)
}

#[test]
fn streamed_weights_change_no_bit() {
    for fixture in ["llama3", "gemma2", "qwen2-moe"] {
        for kind in [Kind::Float, Kind::BFloat16] {
            let (expected, _) = answers(fixture, kind, RESIDENT, 2);
            assert!(expected.predictions.is_some(), "{fixture}");
            // No weight stays; some do; all of them in waves of two sequences.
            for (weights, wave) in [(0, u64::MAX), (20_000, u64::MAX), (20_000, 0)] {
                let limits = Limits { weights, wave };
                let (found, _) = answers(fixture, kind, limits, 2);
                assert_eq!(found, expected, "{fixture}, {kind:?}, {limits:?}");
            }
        }
    }
}

/// One of three blocks stays, the others come by: all weights are decoded once for all sequences
/// of a wave.
#[test]
fn each_weight_is_made_once_a_wave() {
    let layers_of_block = 7;
    for (wave, expected) in [(u64::MAX, 3), (0, 1 + 2 * NUM_SEQUENCES)] {
        let limits = Limits {
            weights: 2 * block_bytes("gemma2"),
            wave,
        };
        let (_, decoded) = answers("gemma2", Kind::Float, limits, 1);
        assert_eq!(decoded, expected * layers_of_block);
    }
}

fn block_bytes(fixture: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let levels = |database| -> Arc<dyn LevelSource> { Arc::new(database) };
    let (model, _) = open_within(fixture, folder.path(), Kind::Float, 0, levels);
    4 * model.spec().blocks[0].num_weights()
}
