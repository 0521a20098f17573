use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use evopress_model::Engine;
use evopress_search::Fitness;
use evopress_search::genotype::Genotype;

use crate::fitness::CalibratedFitness;
use crate::small_models::{CrossEntropy, LENGTH, corpus, drops, open};

const NUM_SEQUENCES: usize = 3;

/// A parent and its offspring that differ from it first in every block, evaluated with so much
/// memory for the cache; how many of the sequences have streams afterwards.
fn losses(fixture: &str, bytes: u64) -> (Vec<Vec<f64>>, usize) {
    let model = open(fixture);
    let space = drops(&model);
    let corpus = corpus(model.spec().vocab_size, NUM_SEQUENCES);
    let corpus = Arc::into_inner(corpus).unwrap();
    let engine = Engine::new(model, 2, LENGTH, Arc::new(AtomicBool::new(false))).unwrap();
    let plain = Arc::new(CrossEntropy { has_gradient: true });
    let mut fitness = CalibratedFitness::new(&engine, &space, plain, corpus);
    fitness.limit_residual_cache(bytes);
    // Every second attention and MLP is left out; an offspring swaps two neighbours.
    let parent = Genotype(
        (0..space.units().len())
            .map(|idx| (idx / 2 % 2) as u16)
            .collect(),
    );
    let offspring = (0..space.units().len() - 2).map(|idx| {
        let mut one = parent.clone();
        one.0.swap(idx, idx + 2);
        one
    });
    let offspring: Vec<Genotype> = offspring.collect();
    let all: Vec<usize> = (0..NUM_SEQUENCES).collect();
    fitness.set_parent(&parent);
    let mut found = fitness.losses(std::slice::from_ref(&parent), &all).unwrap();
    found.extend(fitness.losses(&offspring, &all).unwrap());
    // The best of them takes its parent's place.
    fitness.set_parent(&offspring[1]);
    found.extend(fitness.losses(&offspring[1..2], &all[..2]).unwrap());
    found.extend(fitness.losses(&offspring, &all).unwrap());
    (found, fitness.num_cached_sequences())
}

/// On a GPU nothing is shared.
#[test]
fn what_is_shared_changes_no_bit_of_a_loss() {
    for fixture in ["llama3", "gqa-tied"] {
        let (without, none) = losses(fixture, 0);
        let (with, all) = losses(fixture, 1 << 30);
        let on_gpu = open(fixture).device().is_cuda();
        assert_eq!((none, all), (0, if on_gpu { 0 } else { 3 }), "{fixture}");
        assert_eq!(with, without, "{fixture}");
        // Room for the streams of one sequence.
        let one = open(fixture).spec().num_blocks() as u64 - 1;
        let bytes = one * LENGTH as u64 * open(fixture).spec().hidden_size as u64 * 4;
        let (with_some, some) = losses(fixture, bytes);
        assert_eq!(some, usize::from(!on_gpu), "{fixture}");
        assert_eq!(with_some, without, "{fixture}");
    }
}
