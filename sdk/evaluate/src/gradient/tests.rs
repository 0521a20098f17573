//! The block-by-block passes against autograd through the whole model at once.

use std::sync::atomic::AtomicBool;

use evopress_model::Model;
use evopress_plugin::SubBlock;
use evopress_search::genotype::{Candidate, Genotype};
use evopress_search::prediction::LevelChange;
use tch::{Kind, Tensor};

use super::*;
use crate::small_models::{CrossEntropy, FAMILIES, LENGTH, corpus, drops, open, open_with_levels};

const SUB_BLOCKS: [SubBlock; 2] = [SubBlock::Attention, SubBlock::Mlp];

/// The whole model at once: the loss, and what it can be derived by.
struct Whole {
    /// The mean cross-entropy.
    loss: Tensor,
    /// Factors of what the sub-blocks add to the stream: 1, or 0 where the candidate leaves one
    /// out.
    gates: Tensor,
    /// By layer, `[N, K]`.
    weights: Vec<Tensor>,
}

fn whole(model: &Model, candidate: &Candidate, tokens: &[i64]) -> Whole {
    whole_scaled(model, candidate, tokens, 0.0)
}

/// With so much more of the first attention than there is.
fn whole_scaled(model: &Model, candidate: &Candidate, tokens: &[i64], more: f64) -> Whole {
    let num_blocks = model.spec().num_blocks();
    let kept = (0..2 * num_blocks).map(|idx| {
        let sub_block = SUB_BLOCKS[idx % 2];
        f32::from(u8::from(!candidate.dropped.contains(idx / 2, sub_block)))
    });
    let mut kept: Vec<f32> = kept.collect();
    kept[0] += more as f32;
    let gates = Tensor::from_slice(&kept)
        .to_device(model.device())
        .set_requires_grad(true);
    let weights: Vec<Tensor> = (0..candidate.weights.len())
        .map(|idx| plain(model, candidate, idx).set_requires_grad(true))
        .collect();
    let loss = tch::with_grad(|| {
        let mut stream = model.embed(&[tokens]).unwrap().snapshot().unwrap();
        for block_idx in 0..num_blocks {
            for (place, sub_block) in SUB_BLOCKS.into_iter().enumerate() {
                let first = model.spec().first_layer(block_idx);
                let weight = |slot: usize| Ok(weights[first + slot].shallow_clone());
                let (kind, length) = (Kind::Float, tokens.len() as i64);
                let traced = match sub_block {
                    SubBlock::Attention => {
                        model.traced_attention(block_idx, &stream, length, kind, &weight)
                    }
                    SubBlock::Mlp => {
                        let left_out = &candidate.dropped.experts[block_idx];
                        model.traced_mlp(block_idx, &stream, kind, left_out, &weight)
                    }
                };
                let gate = gates.get((2 * block_idx + place) as i64);
                stream = &stream + gate * traced.unwrap().added;
            }
        }
        let hidden = model.traced_finish(&stream).unwrap();
        cross_entropy(model, &hidden, tokens)
    });
    Whole {
        loss,
        gates,
        weights,
    }
}

/// The mean cross-entropy of final hidden states `[T, D]`.
pub(super) fn cross_entropy(model: &Model, hidden: &Tensor, tokens: &[i64]) -> Tensor {
    let products = {
        let head = model.head().rows(0, model.spec().vocab_size).unwrap();
        hidden.matmul(&head.transpose(0, 1))
    };
    let logits = match model.spec().head.cap {
        Some(cap) => (products / cap).tanh() * cap,
        None => products,
    };
    let counted = logits.narrow(0, 0, tokens.len() as i64 - 1);
    counted.cross_entropy_for_logits(&Tensor::from_slice(&tokens[1..]).to_device(model.device()))
}

/// In memory of its own: on a GPU the model hands out the weights that it keeps, which must not
/// gather gradients.
pub(super) fn plain(model: &Model, candidate: &Candidate, layer_idx: usize) -> Tensor {
    let level = candidate.weights[layer_idx];
    let weight = model.plain_weight(layer_idx, level, Kind::Float);
    weight.unwrap().detach_copy()
}

/// Predictions for three sequences.
pub(super) fn predicted(
    model: Model,
    space: &SearchSpace,
    parent: &Genotype,
    changes: &[LevelChange],
    has_gradient: bool,
) -> Option<Predictions> {
    let corpus = corpus(model.spec().vocab_size, 3);
    let engine = Engine::new(model, 2, LENGTH, Arc::new(AtomicBool::new(false))).unwrap();
    let fitness: SharedFitness = Arc::new(CrossEntropy { has_gradient });
    let targets = Arc::new((0..3).map(|_| OnceLock::new()).collect());
    let request = PredictionRequest {
        parent,
        changes,
        sequence_idxs: &[0, 1, 2],
        samples_of_levels: 4,
        seed: 1,
        pass: 1,
    };
    predict(&engine, space, &fitness, &corpus, &targets, &request).unwrap()
}

/// Every unit's move to its other level.
pub(super) fn flips(space: &SearchSpace, parent: &Genotype) -> Vec<LevelChange> {
    (0..space.units().len())
        .map(|unit_idx| LevelChange {
            unit_idx,
            level: 1 - parent.level(unit_idx),
        })
        .collect()
}

fn moved(space: &SearchSpace, parent: &Genotype, step: &LevelChange) -> Candidate {
    let mut moved = parent.clone();
    moved.0[step.unit_idx] = step.level as u16;
    space.candidate(&moved)
}

/// First-order terms against what the slopes of the whole say.
pub(super) fn check_first_order(
    found: &Predictions,
    changes: &[LevelChange],
    expected: &[f64],
    tolerance: f64,
) {
    let found = found.first.iter().zip(&found.sink);
    let found = found.map(|((first, _), (at_sink, _))| first + at_sink);
    for ((step, first), expected) in changes.iter().zip(found).zip(expected) {
        assert!(
            (first - expected).abs() < tolerance,
            "{step:?}: {first}, not {expected}"
        );
    }
}

#[test]
fn first_order_terms_are_the_slopes_of_the_loss() {
    for fixture in FAMILIES {
        let model = open(fixture);
        let space = drops(&model);
        let mut parent = space.max_cost_genotype();
        parent.0[0] = 1;
        let changes = flips(&space, &parent);
        let found = predicted(open(fixture), &space, &parent, &changes, true).unwrap();
        let corpus = corpus(model.spec().vocab_size, 3);
        let candidate = space.candidate(&parent);
        let mut slopes = vec![0.0; 2 * space.num_blocks()];
        for sequence_idx in 0..3 {
            let whole = whole(&model, &candidate, corpus.sequence(sequence_idx));
            whole.loss.backward();
            let of_sequence = Vec::<f32>::try_from(whole.gates.grad()).unwrap();
            for (slope, part) in slopes.iter_mut().zip(of_sequence) {
                *slope += f64::from(part) / 3.0;
            }
        }
        let largest = slopes
            .iter()
            .fold(0.0_f64, |most, slope| most.max(slope.abs()));
        let expected = changes.iter().map(|step| {
            let moved = moved(&space, &parent, step);
            let runs = |it: &Candidate, idx: usize| {
                f64::from(u8::from(!it.dropped.contains(idx / 2, SUB_BLOCKS[idx % 2])))
            };
            (0..slopes.len())
                .map(|idx| (runs(&moved, idx) - runs(&candidate, idx)) * slopes[idx])
                .sum()
        });
        check_first_order(
            &found,
            &changes,
            &expected.collect::<Vec<_>>(),
            1e-3 * largest,
        );
    }
}

/// `⟨∂loss/∂W, ΔW⟩` of every layer.
#[test]
fn first_order_terms_of_levels_are_the_slopes_of_the_loss() {
    for fixture in FAMILIES {
        let folder = tempfile::tempdir().unwrap();
        let (model, space) = open_with_levels(fixture, folder.path());
        let levels = (0..space.units().len()).map(|idx| (idx % 3 % 2) as u16);
        let parent = Genotype(levels.collect());
        let changes = flips(&space, &parent);
        let candidate = space.candidate(&parent);
        let corpus = corpus(model.spec().vocab_size, 3);
        let mut expected = vec![0.0; changes.len()];
        for sequence_idx in 0..3 {
            let whole = whole(&model, &candidate, corpus.sequence(sequence_idx));
            whole.loss.backward();
            for (step, expected) in changes.iter().zip(&mut expected) {
                // A unit is a layer here.
                let layer_idx = step.unit_idx;
                let after = plain(&model, &moved(&space, &parent, step), layer_idx);
                let weight = &whole.weights[layer_idx];
                // An expert that no token of the sequence goes to has none.
                if !weight.grad().defined() {
                    continue;
                }
                let slope = (after - weight.detach()) * weight.grad();
                *expected += slope.sum(Kind::Double).double_value(&[]) / 3.0;
            }
        }
        let found = predicted(model, &space, &parent, &changes, true).unwrap();
        let largest = expected
            .iter()
            .fold(0.0_f64, |most, slope: &f64| most.max(slope.abs()));
        assert!(largest > 0.0);
        check_first_order(&found, &changes, &expected, 1e-3 * largest);
        // The first token attends to itself alone, whatever its query.
        let most = |of: fn(&(f64, f64)) -> f64| found.sink.iter().map(of).fold(0.0, f64::max);
        let (slope, square) = (most(|it| it.0.abs()), most(|it| it.1));
        let of_all_tokens = |step: &LevelChange| {
            let layer = &space.outline().layers[step.unit_idx];
            layer.expert_idx.is_none()
        };
        let at_sink = changes.iter().zip(&found.sink);
        for (step, at_sink) in at_sink.filter(|(step, _)| of_all_tokens(step)) {
            let is_query = space.units()[step.unit_idx].name.ends_with("q_proj");
            let is_nothing = at_sink.0.abs() < 1e-6 * slope && at_sink.1 < 1e-6 * square;
            assert_eq!(is_nothing, is_query, "{step:?}: {at_sink:?}");
        }
        assert_eq!(found.sink_samples, 12);
    }
}

/// The router's probabilities change with what it reads, also where no expert changes.
#[test]
fn slopes_are_differences_of_the_loss() {
    const STEP: f64 = 4e-3;
    for fixture in ["qwen2-moe", "granitemoe", "olmoe"] {
        let model = open(fixture);
        let corpus = corpus(model.spec().vocab_size, 1);
        let tokens = corpus.sequence(0);
        let dense = model.dense();
        let found = whole(&model, &dense, tokens);
        found.loss.backward();
        let slopes = Vec::<f32>::try_from(found.gates.grad()).unwrap();
        // How much of the first attention is added, in both directions.
        let loss = |step: f64| {
            let _no_grad = tch::no_grad_guard();
            let loss = whole_scaled(&model, &dense, tokens, step).loss;
            loss.double_value(&[])
        };
        let difference = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
        let slope = f64::from(slopes[0]);
        assert!(
            (difference - slope).abs() < 1e-2 * slope.abs() + 2e-4,
            "{fixture}: {slope}, not {difference}"
        );
    }
}

#[test]
fn second_order_terms_are_a_gram_matrix() {
    let model = open("llama3");
    let space = drops(&model);
    let parent = space.max_cost_genotype();
    let changes = flips(&space, &parent);
    let found = predicted(model, &space, &parent, &changes, true).unwrap();
    // Sub-blocks keep the first token among the others, and one sample is enough for them.
    assert!(found.sink.iter().all(|&terms| terms == (0.0, 0.0)));
    assert_eq!(found.sink_samples, 3);
    let product = |i: usize, j: usize| found.responses.product(i, j);
    for i in 0..changes.len() {
        assert!(product(i, i) > 0.0, "a sub-block that does nothing");
        for j in 0..changes.len() {
            let value = product(i, j);
            assert!((value - product(j, i)).abs() <= 1e-6 * product(i, i).max(product(j, j)));
            assert!(value * value <= product(i, i) * product(j, j) * (1.0 + 1e-5));
        }
    }
    // A forward, two backward and a recomputed pass, and the head.
    let passes = found.forward_tokens as f64 / (3 * LENGTH) as f64;
    assert!((3.0..5.0).contains(&passes), "{passes}");
    let again = predicted(open("llama3"), &space, &parent, &changes, true);
    assert_eq!(again, Some(found));
}

#[test]
fn a_fitness_without_a_gradient_predicts_nothing() {
    let model = open("llama3");
    let space = drops(&model);
    let parent = space.max_cost_genotype();
    assert_eq!(predicted(model, &space, &parent, &[], false), None);
}

#[test]
fn traced_blocks_agree_with_the_fused_ones() {
    for fixture in FAMILIES {
        let model = open(fixture);
        let corpus = corpus(model.spec().vocab_size, 1);
        let tokens = corpus.sequence(0);
        let hidden = model.forward(tokens, &model.dense()).unwrap();
        let expected = cross_entropy(&model, &hidden, tokens);
        let found = whole(&model, &model.dense(), tokens).loss;
        let error = (found - expected).abs().double_value(&[]);
        assert!(error < 1e-5, "{fixture}: {error:.1e}");
    }
}

#[test]
fn sequences_side_by_side_respond_as_each_does_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (model, space) = open_with_levels("llama3", folder.path());
    let parent = Genotype(vec![0; space.units().len()]);
    let changes = Changes::new(&space, &parent, &flips(&space, &parent), 4);
    let corpus = corpus(model.spec().vocab_size, 3);
    let count = (LENGTH - 1) * changes.num_samples;
    let uniforms: Vec<f32> = (0..count).map(|idx| idx as f32 / count as f32).collect();
    let parent = Arc::new(changes.parent.clone());
    let engine = Engine::new(model, 1, LENGTH, Arc::default()).unwrap();
    let changes = Arc::new(changes);
    let run = |sequence_idxs: &[usize]| {
        let walk = pass::Passes {
            changes: Arc::clone(&changes),
            parent: [Arc::clone(&parent)],
            fitness: Arc::new(CrossEntropy { has_gradient: true }),
            corpus: Arc::clone(&corpus),
            targets: Arc::new((0..3).map(|_| OnceLock::new()).collect()),
        };
        let sequences = sequence_idxs.iter().map(|&idx| (idx, uniforms.clone()));
        let items = Items {
            items: vec![sequences.collect()],
            candidates: vec![Arc::clone(&parent)],
            state_bytes: 0,
            at_once: 1,
        };
        let mut passes = engine.walk(walk, items, |_| ()).unwrap();
        passes.swap_remove(0).unwrap()
    };
    let together = run(&[0, 1, 2]);
    assert_eq!(together.len(), 3);
    for (idx, found) in together.iter().enumerate() {
        let alone = run(&[idx]).swap_remove(0);
        let largest = alone.second.abs().max().double_value(&[]);
        let error = (&found.second - &alone.second).abs().max();
        assert!(error.double_value(&[]) < 1e-4 * largest, "sequence {idx}");
        for ((found, _), (alone, _)) in found.first.iter().zip(&alone.first) {
            assert!((found - alone).abs() < 1e-5, "{found}, not {alone}");
        }
        // Some squares are nothing but rounding, which is another for each shape of a product on a GPU.
        let largest = alone.sink.iter().map(|sink| sink.1).fold(0.0, f64::max);
        for (found, alone) in found.sink.iter().zip(&alone.sink) {
            assert!((found.0 - alone.0).abs() < 1e-5, "{found:?}, not {alone:?}");
            assert!(
                (found.1 - alone.1).abs() < 1e-4 * alone.1 + 1e-9 * largest,
                "{found:?}, not {alone:?}"
            );
        }
    }
}
