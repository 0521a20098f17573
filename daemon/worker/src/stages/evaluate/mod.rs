//! The last proof: the written artifact, loaded again, against the dense model and the baselines on
//! held-out text.

mod inputs;
mod reload;
mod results;

use std::cell::Cell;

use anyhow::Result;
use evopress::evaluate::Reference;
use evopress::model::Engine;
use evopress_spec::{EventKind, Stage};

use self::results::Measured;
use crate::texts;

pub(crate) use inputs::Inputs;
pub(crate) use results::Outcome;

/// Measures the dense model and the baselines with `dense`, frees its memory, and measures the
/// first artifact. Every artifact is verified against the genotype.
pub(crate) fn run(inputs: &Inputs<'_>, dense: Engine) -> Result<Outcome> {
    inputs
        .recorder
        .stage(Stage::Evaluate, false, || evaluate(inputs, dense))
}

fn evaluate(inputs: &Inputs<'_>, dense: Engine) -> Result<Outcome> {
    let sequences = inputs.sets.iter();
    let sequences = sequences.map(|set| set.tokens.div_ceil(set.sequence_length.into()));
    // The dense model, each baseline and the result see every sequence.
    let total = sequences.sum::<u64>() * (2 + inputs.baselines.len() as u64);
    let done = Cell::new(0);
    let one_more = |_| {
        done.set(done.get() + 1);
        let recorder = inputs.recorder;
        recorder.progress(Stage::Evaluate, done.get(), total, "sequences");
    };
    let mut measured = Vec::new();
    for set in inputs.sets {
        let corpus = texts::evaluation(set, inputs.source, set.tokens)?;
        let reference = Reference::new(&dense, corpus, one_more)?;
        measured.push(with_baselines(inputs, &dense, reference, one_more)?);
    }
    drop(dense);
    let artifact = reload::verified(inputs)?;
    let compute = inputs.compute;
    let model = compute.model(&artifact, &[], compute.weights_limit_bytes())?;
    let lengths = inputs.sets.iter().map(|set| set.sequence_length);
    let compressed = compute.engine(model, lengths.max().unwrap_or(1) as usize)?;
    let mut outcome = Outcome::default();
    for (set, measured) in inputs.sets.iter().zip(&measured) {
        let reference = &measured.reference;
        let quality = reference.measure(&compressed, compressed.dense(), one_more)?;
        outcome.add(set, measured, quality);
    }
    Ok(outcome)
}

/// The baselines' quality on the sequences of `reference`.
fn with_baselines(
    inputs: &Inputs<'_>,
    dense: &Engine,
    reference: Reference,
    one_more: impl Fn(usize) + Copy,
) -> Result<Measured> {
    let mut baselines = Vec::new();
    for baseline in inputs.baselines {
        let candidate = inputs.space.candidate(&baseline.genotype);
        let quality = reference.measure(dense, &candidate, one_more)?;
        inputs.recorder.event(EventKind::Baseline {
            name: baseline.name.clone(),
            kl_divergence: quality.kl_divergence,
            perplexity: quality.perplexity,
        });
        baselines.push((baseline.name.clone(), quality));
    }
    Ok(Measured {
        reference,
        baselines,
    })
}
