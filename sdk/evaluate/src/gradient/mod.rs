//! What single level changes would do to the loss, predicted for all of them at once from one
//! forward and a few backward passes.
//!
//! In go a parent genotype, level changes (a unit takes another level) and calibration sequences;
//! out comes, for every change, a first-order term and a second-order one that also says how
//! changes act together. With `h_t` a layer's input at token `t`, `ΔW` the difference of two
//! levels' weights and `δ_t = ΔW h_t` (for a sub-block: what it adds, restored or left out),
//!
//! ```text
//! first order    f_m = mean_t ⟨∂loss/∂y_t, δ_t⟩
//! response       r_m[t] = ⟨g_t, δ_t⟩
//! second order   ½ mean_t (Σ_m r_m[t])²                (Fisher, over the changes that are made together)
//! ```
//!
//! where `g_t` is the gradient of the loss of a token that is *sampled from the student's own
//! distribution*: `E[g gᵀ]` is the Fisher information, the curvature of the loss where the
//! student's distribution is near the target. Changes are proposals only: real fitness on real
//! tokens selects.
//!
//! A sequence's first token is the one that all later ones attend to (an attention sink, with
//! activations hundreds of times as large as others': Xiao et al. 2023, Sun et al. 2024). What
//! another level of a key or value layer does there outweighs what it does at all others, and both
//! terms nearly cancel. Its square is one number a sequence and sample, where the other tokens have
//! hundreds, so that several tokens are sampled, and it is kept apart from the rest.
//!
//! The backward pass goes block by block from stored block boundaries and recomputes each block, so
//! its memory is that of a forward pass, the boundaries and one block's activations.

mod block;
mod changes;
mod pass;
mod rerouted;
mod responses;

use std::sync::{Arc, OnceLock};

use evopress_model::{Engine, Items};
use evopress_plugin::Target;
use evopress_search::genotype::SearchSpace;
use evopress_search::prediction::{PredictionRequest, Predictions, Responses};
use evopress_search::random::{Purpose, stream};
use evopress_source::Corpus;
use evopress_tensor::to_vec;
use rand::Rng;
use tch::{Kind, Tensor};

use changes::Changes;
use responses::SequenceResponses;

use crate::error::Result;
use crate::shared_fitness::SharedFitness;

/// A response is cut at so many times a change's root mean square.
const OUTLIER: f64 = 5.0;

/// Level changes whose responses are put together at once.
pub const CHANGES_AT_ONCE: usize = 1024;

/// Predicts level changes of a parent on some sequences, whose targets (where the fitness has any)
/// are there. None where the fitness has no gradient.
///
/// # Errors
/// When a pass or the fitness plugin fails; numbers that are not finite.
pub(crate) fn predict(
    engine: &Engine,
    space: &SearchSpace,
    fitness: &SharedFitness,
    corpus: &Arc<Corpus>,
    targets: &Arc<Vec<OnceLock<Target>>>,
    request: &PredictionRequest<'_>,
) -> Result<Option<Predictions>> {
    let samples_of_levels = request.samples_of_levels;
    let changes = Changes::new(space, request.parent, request.changes, samples_of_levels);
    let (num_changes, num_samples) = (changes.len(), changes.num_samples);
    let share = changes.forward_passes(engine.spec());
    let length = corpus.sequence_length();
    let Some(passes) = passes(engine, changes, fitness, corpus, targets, request)? else {
        return Ok(None);
    };
    let num_passes = passes.len() as f64;
    let sink = (0..num_changes).map(|idx| {
        let terms = passes.iter().map(|pass| pass.sink[idx]);
        let (slope, square) = terms.fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        (slope / num_passes, square / num_passes)
    });
    let tokens = (request.sequence_idxs.len() * length) as f64;
    Ok(Some(Predictions {
        first: first_orders(&passes, num_changes),
        sink: sink.collect(),
        sink_samples: passes.len() * num_samples,
        responses: Responses::new(num_changes, all_responses(&passes, num_changes)?),
        forward_tokens: (share * tokens).round() as u64,
    }))
}

/// A pass over each sequence; none where the fitness has no gradient.
fn passes(
    engine: &Engine,
    changes: Changes,
    fitness: &SharedFitness,
    corpus: &Arc<Corpus>,
    targets: &Arc<Vec<OnceLock<Target>>>,
    request: &PredictionRequest<'_>,
) -> Result<Option<Vec<SequenceResponses>>> {
    let length = corpus.sequence_length();
    // Drawn here, so that the threads' order makes no difference.
    let mut rng = stream(request.seed, request.pass, Purpose::SampledTokens);
    let items: Vec<pass::Sampled> = request
        .sequence_idxs
        .iter()
        .map(|&sequence_idx| {
            let count = (length - 1) * changes.num_samples;
            (sequence_idx, (0..count).map(|_| rng.random()).collect())
        })
        .collect();
    let batch_size = engine.batch_size(length);
    let batches = items.chunks(batch_size).map(<[_]>::to_vec).collect();
    let parent = Arc::new(changes.parent.clone());
    let walk = pass::Passes {
        changes: Arc::new(changes),
        parent: [Arc::clone(&parent)],
        fitness: Arc::clone(fitness),
        corpus: Arc::clone(corpus),
        targets: Arc::clone(targets),
    };
    let items = Items {
        state_bytes: walk.state_bytes(engine, batch_size),
        at_once: engine.returns_at_once(),
        items: batches,
        candidates: vec![parent],
    };
    let passes = engine.walk(walk, items, |_| ())?;
    let passes: Option<Vec<Vec<SequenceResponses>>> = passes.into_iter().collect();
    Ok(passes.map(|passes| passes.into_iter().flatten().collect()))
}

/// The responses of all tokens to each change, row by row, without outliers.
fn all_responses(passes: &[SequenceResponses], num_changes: usize) -> Result<Vec<f32>> {
    let count = passes.iter().map(|pass| pass.second.numel()).sum();
    let mut all = Vec::with_capacity(count);
    // Among many changes they are most of a search's memory: no more than a part is copied at once.
    for first in (0..num_changes).step_by(CHANGES_AT_ONCE) {
        let count = CHANGES_AT_ONCE.min(num_changes - first);
        let of_pass = |pass: &SequenceResponses| -> Result<Tensor> {
            let part = pass.second.f_narrow(0, first as i64, count as i64)?;
            Ok(part.f_flatten(1, 2)?)
        };
        let parts = passes.iter().map(of_pass).collect::<Result<Vec<_>>>()?;
        all.extend(to_vec(&without_outliers(&Tensor::f_cat(&parts, 1)?)?)?);
    }
    Ok(all)
}

/// Responses `[M, T]` within [`OUTLIER`] of each change: a token that reacts out of all proportion
/// says little about other tokens.
fn without_outliers(responses: &Tensor) -> Result<Tensor> {
    let squares = responses.f_square()?;
    let squares = squares.f_mean_dim([-1i64].as_slice(), true, Kind::Float)?;
    let most = squares.f_sqrt()?.f_mul_scalar(OUTLIER)?;
    let least = most.f_neg()?;
    Ok(responses.f_minimum(&most)?.f_maximum(&least)?)
}

/// By change: the mean over sequences, and its standard error. A few sequences say how large the
/// errors are, but not whose: that is taken from the tokens, which are many and not independent.
fn first_orders(passes: &[SequenceResponses], num_changes: usize) -> Vec<(f64, f64)> {
    let count = passes.len() as f64;
    let of_change = |idx: usize| passes.iter().map(move |pass| pass.first[idx]);
    let mean = |idx: usize| of_change(idx).map(|(mean, _)| mean).sum::<f64>() / count;
    let by_tokens =
        |idx: usize| of_change(idx).map(|(_, square)| square).sum::<f64>() / count.powi(2);
    let by_sequences = |idx: usize| {
        let squares = of_change(idx).map(|(value, _)| (value - mean(idx)).powi(2));
        squares.sum::<f64>() / (count - 1.0) / count
    };
    let scale = match passes.len() {
        0 | 1 => 1.0,
        _ => {
            let tokens: f64 = (0..num_changes).map(by_tokens).sum();
            let sequences: f64 = (0..num_changes).map(by_sequences).sum();
            if tokens > 0.0 {
                sequences / tokens
            } else {
                0.0
            }
        }
    };
    let terms = (0..num_changes).map(|idx| (mean(idx), (scale * by_tokens(idx)).sqrt()));
    terms.collect()
}

#[cfg(test)]
mod expert_tests;
#[cfg(test)]
mod tests;
