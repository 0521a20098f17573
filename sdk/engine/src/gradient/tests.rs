//! The block-by-block passes against autograd through the whole model at once.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use evopress_plugin::SubBlock;
use tch::{Kind, Tensor};

use super::edits::slots;
use super::*;
use crate::genotype::Candidate;
use crate::model::Model;
use crate::small_models::{CrossEntropy, LENGTH, corpus, drops, open};
use crate::source::LAYERS_PER_BLOCK;

/// The mean cross-entropy with every sub-block's share of the stream multiplied by its gate, and the gates.
fn gated_loss(model: &Model, candidate: &Candidate, tokens: &[i64]) -> (Tensor, Tensor) {
    let num_blocks = model.config().num_blocks;
    let kept = (0..2 * num_blocks).map(|idx| {
        let sub_block = [SubBlock::Attention, SubBlock::Mlp][idx % 2];
        f32::from(u8::from(!candidate.dropped.contains(idx / 2, sub_block)))
    });
    let gates = Tensor::from_slice(&kept.collect::<Vec<_>>())
        .to_device(model.device())
        .set_requires_grad(true);
    let loss = tch::with_grad(|| {
        let ids = Tensor::from_slice(tokens)
            .view([1, -1])
            .to_device(model.device());
        let mut stream = model.embed(&ids).unwrap().snapshot().unwrap();
        for block_idx in 0..num_blocks {
            for (place, sub_block) in [SubBlock::Attention, SubBlock::Mlp].into_iter().enumerate() {
                let first = block_idx * LAYERS_PER_BLOCK;
                let weights: Vec<Tensor> = slots(sub_block)
                    .map(|slot| model.plain_weight(first + slot, None, Kind::Float).unwrap())
                    .collect();
                let traced = match sub_block {
                    SubBlock::Attention => model.traced_attention(block_idx, &stream, &weights),
                    SubBlock::Mlp => model.traced_mlp(block_idx, &stream, &weights),
                };
                let gate = gates.get((2 * block_idx + place) as i64);
                stream = &stream + gate * traced.unwrap().added;
            }
        }
        let hidden = model.traced_finish(&stream).unwrap();
        let logits = hidden.matmul(&model.head().transpose(0, 1));
        let counted = tokens.len() as i64 - 1;
        logits
            .narrow(0, 0, counted)
            .cross_entropy_for_logits(&Tensor::from_slice(&tokens[1..]).to_device(model.device()))
    });
    (loss, gates)
}

fn predicted(
    fixture: &str,
    parent: &Genotype,
    moves: &[Move],
    has_gradient: bool,
) -> Option<Predictions> {
    let model = open(fixture);
    let space = drops(&model);
    let corpus = corpus(model.config().vocab_size, 3);
    let engine = Engine::new(model, 2, LENGTH, Arc::new(AtomicBool::new(false))).unwrap();
    let fitness: SharedFitness = Arc::new(CrossEntropy { has_gradient });
    let targets = Arc::new((0..3).map(|_| OnceLock::new()).collect());
    let ask = Ask {
        parent,
        moves,
        sequence_idxs: &[0, 1, 2],
        seed: 1,
        pass: 1,
    };
    predict(&engine, &space, &fitness, &corpus, &targets, &ask).unwrap()
}

#[test]
fn first_order_terms_are_the_slopes_of_the_loss() {
    for fixture in ["biased", "gqa-tied", "llama3"] {
        let model = open(fixture);
        let space = drops(&model);
        let mut parent = space.dearest();
        parent.0[0] = 1;
        let moves: Vec<Move> = (0..space.units().len())
            .map(|unit_idx| Move {
                unit_idx,
                level: 1 - parent.level(unit_idx),
            })
            .collect();
        let found = predicted(fixture, &parent, &moves, true).unwrap();
        let corpus = corpus(model.config().vocab_size, 3);
        let candidate = space.candidate(&parent);
        let mut slopes = vec![0.0; 2 * space.num_blocks()];
        for sequence_idx in 0..3 {
            let (loss, gates) = gated_loss(&model, &candidate, corpus.sequence(sequence_idx));
            loss.backward();
            let of_sequence = Vec::<f32>::try_from(gates.grad()).unwrap();
            for (slope, part) in slopes.iter_mut().zip(of_sequence) {
                *slope += f64::from(part) / 3.0;
            }
        }
        let largest = slopes
            .iter()
            .fold(0.0_f64, |most, slope| most.max(slope.abs()));
        for (step, (first, _)) in moves.iter().zip(&found.first) {
            let mut moved = parent.clone();
            moved.0[step.unit_idx] = step.level as u16;
            let moved = space.candidate(&moved);
            let expected: f64 = (0..slopes.len())
                .map(|idx| {
                    let sub_block = [SubBlock::Attention, SubBlock::Mlp][idx % 2];
                    let runs = |it: &Candidate| {
                        f64::from(u8::from(!it.dropped.contains(idx / 2, sub_block)))
                    };
                    (runs(&moved) - runs(&candidate)) * slopes[idx]
                })
                .sum();
            assert!(
                (first - expected).abs() < 1e-3 * largest,
                "{fixture} {step:?}: {first}, not {expected}"
            );
        }
    }
}

#[test]
fn second_order_terms_are_a_gram_matrix() {
    let model = open("llama3");
    let space = drops(&model);
    let parent = space.dearest();
    let moves: Vec<Move> = (0..space.units().len())
        .map(|unit_idx| Move { unit_idx, level: 1 })
        .collect();
    let found = predicted("llama3", &parent, &moves, true).unwrap();
    assert_eq!(found.gram.len(), moves.len());
    for (i, row) in found.gram.iter().enumerate() {
        assert!(row[i] > 0.0, "a sub-block that does nothing");
        for (j, &value) in row.iter().enumerate() {
            assert!((value - found.gram[j][i]).abs() <= 1e-6 * row[i].max(found.gram[j][j]));
            assert!(value * value <= row[i] * found.gram[j][j] * (1.0 + 1e-5));
        }
    }
    // A forward, two backward and a recomputed pass, and the head.
    let passes = found.forward_tokens as f64 / (3 * LENGTH) as f64;
    assert!((3.0..5.0).contains(&passes), "{passes}");
    assert_eq!(predicted("llama3", &parent, &moves, true), Some(found));
}

#[test]
fn a_fitness_without_a_gradient_predicts_nothing() {
    let parent = drops(&open("llama3")).dearest();
    assert_eq!(predicted("llama3", &parent, &[], false), None);
}

#[test]
fn traced_blocks_agree_with_the_fused_ones() {
    let model = open("llama3");
    let corpus = corpus(model.config().vocab_size, 1);
    let tokens = corpus.sequence(0);
    let ids = Tensor::from_slice(tokens)
        .view([1, -1])
        .to_device(model.device());
    let hidden = model.forward(&ids, &model.dense()).unwrap();
    let logits = hidden.matmul(&model.head().transpose(0, 1));
    let expected = logits
        .narrow(0, 0, tokens.len() as i64 - 1)
        .cross_entropy_for_logits(&Tensor::from_slice(&tokens[1..]).to_device(model.device()));
    let (found, _) = gated_loss(&model, &model.dense(), tokens);
    assert!((found - expected).abs().double_value(&[]) < 1e-5);
}
