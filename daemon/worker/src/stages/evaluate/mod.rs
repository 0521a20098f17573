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
use crate::recorder::Recorder;
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
    let progress = Progress {
        recorder: inputs.recorder,
        before: Cell::new(0),
        total,
    };
    let mut measured = Vec::new();
    for set in inputs.sets {
        let corpus = texts::evaluation(set, inputs.source, set.tokens)?;
        let count = corpus.num_sequences();
        let reference = progress.of(count, |done| Reference::new(&dense, corpus, done))?;
        measured.push(with_baselines(
            inputs,
            &dense,
            (reference, count),
            &progress,
        )?);
    }
    drop(dense);
    let artifact = reload::verified(inputs)?;
    let compute = inputs.compute;
    let model = compute.model(&artifact, &[], compute.shares.weights)?;
    let lengths = inputs.sets.iter().map(|set| set.sequence_length);
    let compressed = compute.engine(model, lengths.max().unwrap_or(1) as usize)?;
    let mut outcome = Outcome::default();
    for (set, measured) in inputs.sets.iter().zip(&measured) {
        let reference = &measured.reference;
        let quality = progress.of(measured.num_sequences, |done| {
            reference.measure(&compressed, compressed.dense(), done)
        })?;
        outcome.add(set, measured, quality);
    }
    Ok(outcome)
}

/// The baselines' quality on the sequences of `reference`.
fn with_baselines(
    inputs: &Inputs<'_>,
    dense: &Engine,
    (reference, num_sequences): (Reference, usize),
    progress: &Progress<'_>,
) -> Result<Measured> {
    let mut baselines = Vec::new();
    for baseline in inputs.baselines {
        let candidate = inputs.space.candidate(&baseline.genotype);
        let quality = progress.of(num_sequences, |done| {
            reference.measure(dense, &candidate, done)
        })?;
        inputs.recorder.event(EventKind::Baseline {
            name: baseline.name.clone(),
            kl_divergence: quality.kl_divergence,
            perplexity: quality.perplexity,
        });
        baselines.push((baseline.name.clone(), quality));
    }
    Ok(Measured {
        reference,
        num_sequences,
        baselines,
    })
}

/// How far the stage is, over all measurements.
struct Progress<'a> {
    recorder: &'a Recorder,
    /// Sequences of the measurements that are over.
    before: Cell<u64>,
    total: u64,
}

impl Progress<'_> {
    /// Runs a measurement of so many sequences, which tells how many of them are done.
    fn of<R>(&self, num_sequences: usize, measure: impl FnOnce(&dyn Fn(usize)) -> R) -> R {
        let before = self.before.get();
        let measured = measure(&|done| {
            let done = before + done as u64;
            self.recorder
                .progress(Stage::Evaluate, done, self.total, "sequences");
        });
        self.before.set(before + num_sequences as u64);
        measured
    }
}
