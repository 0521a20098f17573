use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::evaluator::{CalibratedFitness, Engine};
use crate::genotype::Genotype;
use crate::small_models::{CrossEntropy, LENGTH, corpus, drops, open};
use evopress_search::Fitness;

const NUM_SEQUENCES: usize = 3;

/// A parent and its children that differ from it first in every block, evaluated with so much memory for prefixes; how many of the
/// sequences have streams afterwards.
fn losses(fixture: &str, bytes: u64) -> (Vec<Vec<f64>>, usize) {
    let model = open(fixture);
    let space = drops(&model);
    let corpus = corpus(model.config().vocab_size, NUM_SEQUENCES);
    let corpus = Arc::into_inner(corpus).unwrap();
    let engine = Engine::new(model, 2, LENGTH, Arc::new(AtomicBool::new(false))).unwrap();
    let plain = Arc::new(CrossEntropy { has_gradient: true });
    let mut fitness = CalibratedFitness::new(&engine, &space, plain, corpus);
    fitness.limit_prefixes(bytes);
    // Every second attention and MLP is left out; a child swaps two neighbours.
    let parent = Genotype(
        (0..space.units().len())
            .map(|idx| (idx / 2 % 2) as u16)
            .collect(),
    );
    let children = (0..space.units().len() - 2).map(|idx| {
        let mut child = parent.clone();
        child.0.swap(idx, idx + 2);
        child
    });
    let children: Vec<Genotype> = children.collect();
    let all: Vec<usize> = (0..NUM_SEQUENCES).collect();
    fitness.set_parent(&parent);
    let mut found = fitness.losses(std::slice::from_ref(&parent), &all).unwrap();
    found.extend(fitness.losses(&children, &all).unwrap());
    // The best child takes its parent's place.
    fitness.set_parent(&children[1]);
    found.extend(fitness.losses(&children[1..2], &all[..2]).unwrap());
    found.extend(fitness.losses(&children, &all).unwrap());
    (found, fitness.num_prefixes())
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
        let one = open(fixture).config().num_blocks as u64 - 1;
        let bytes = one * LENGTH as u64 * open(fixture).config().hidden_size as u64 * 4;
        let (with_some, some) = losses(fixture, bytes);
        assert_eq!(some, usize::from(!on_gpu), "{fixture}");
        assert_eq!(with_some, without, "{fixture}");
    }
}
