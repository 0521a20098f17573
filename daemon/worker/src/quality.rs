//! The last proof: the written artifact, loaded again, against the dense model and the baselines on held-out text.

use std::cell::Cell;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use evopress::baselines::Baseline;
use evopress::corpus::Corpus;
use evopress::evaluation::{Quality, Reference};
use evopress::evaluator::Engine;
use evopress::export;
use evopress::genotype::Genotype;
use evopress::model::Model;
use evopress::source::Source;
use evopress_spec::events::{EventKind, Stage};
use evopress_spec::{Evaluation, GateResult, Metric, MetricResult, Sample};
use indexmap::IndexMap;

use crate::artifact;
use crate::database::Databases;
use crate::run::Run;

/// How much of a text the tokenizers are compared on.
const TOKENIZER_TEXT_BYTES: usize = 1 << 16;

/// Everything measured on one evaluation set.
struct Measured {
    reference: Reference,
    baselines: Vec<(String, Quality)>,
}

/// Results by set and metric, the gates, and the baselines that beat the result on the first set's perplexity.
pub(crate) struct Outcome {
    pub(crate) metrics: Vec<MetricResult>,
    pub(crate) gates: Vec<GateResult>,
    pub(crate) beaten_by: Vec<String>,
}

/// Measures dense model and baselines with `dense`, then gives its memory back and measures the artifact.
pub(crate) fn evaluate(
    run: &Run,
    dense: Engine,
    databases: &Databases,
    baselines: &[Baseline],
    genotype: &Genotype,
) -> Result<Outcome> {
    let Run { plan, recorder, .. } = run;
    let mut sets = Vec::new();
    let num_sequences: u64 = plan
        .evaluation
        .iter()
        .map(|set| set.tokens.div_ceil(set.sequence_length.into()))
        .sum();
    // The dense model, each baseline and the result see every sequence.
    let total = num_sequences * (2 + baselines.len() as u64);
    let measured = Cell::new(0);
    let one_more = |_| {
        measured.set(measured.get() + 1);
        recorder.progress(Stage::Evaluate, measured.get(), total, "sequences");
    };
    for set in &plan.evaluation {
        let reference = Reference::new(&dense, corpus(set, &run.source, set.tokens)?, one_more)?;
        let mut of_baselines = Vec::new();
        for baseline in baselines {
            let candidate = run.space.candidate(&baseline.genotype);
            let quality = reference.measure(&dense, &candidate, one_more)?;
            recorder.event(EventKind::Baseline {
                name: baseline.name.to_owned(),
                kl_divergence: quality.kl_divergence,
                perplexity: quality.perplexity,
            });
            of_baselines.push((baseline.name.to_owned(), quality));
        }
        sets.push(Measured {
            reference,
            baselines: of_baselines,
        });
    }
    drop(dense);
    let artifact = reload(run, databases, genotype)?;
    let limit_bytes = run.weights_limit_bytes();
    let model = Model::open(&artifact, run.kind, run.device, Vec::new(), limit_bytes)?;
    let length = plan
        .evaluation
        .iter()
        .map(|set| set.sequence_length)
        .max()
        .unwrap_or(1);
    let compressed = Engine::new(model, run.threads, length as usize, Arc::clone(&run.stop))?;
    let mut outcome = Outcome {
        metrics: Vec::new(),
        gates: Vec::new(),
        beaten_by: Vec::new(),
    };
    for (set, measured) in plan.evaluation.iter().zip(&sets) {
        let quality = measured
            .reference
            .measure(&compressed, compressed.dense(), one_more)?;
        if outcome.metrics.is_empty() {
            let better = measured
                .baselines
                .iter()
                .filter(|(_, baseline)| baseline.perplexity < quality.perplexity);
            outcome.beaten_by = better.map(|(name, _)| name.clone()).collect();
        }
        outcome.metrics.extend(results(set, measured, quality));
        outcome.gates.extend(gates(set, measured, quality));
    }
    Ok(outcome)
}

/// Every artifact, loaded again, against the genotype and the budget; the first one comes back.
fn reload(run: &Run, databases: &Databases, genotype: &Genotype) -> Result<Arc<Source>> {
    let candidate = run.space.candidate(genotype);
    let mut first = None;
    for format in artifact::formats(run) {
        let path = artifact::path(&run.dir.model(), &run.plan, format);
        let artifact = Arc::new(Source::open_artifact(&path)?);
        export::verify(
            &artifact,
            &run.source,
            &run.space,
            &databases.open,
            &candidate,
            run.kind,
        )?;
        if let Some(set) = run.plan.evaluation.first() {
            same_tokens(set, &run.source, &artifact)?;
        }
        first = first.or(Some(artifact));
    }
    first.context("the plan has no artifact")
}

/// The artifact cuts a held-out text into the same tokens as the model that it came from.
fn same_tokens(set: &Evaluation, source: &Source, artifact: &Source) -> Result<()> {
    let text = std::fs::read(&set.source).with_context(|| set.source.display().to_string())?;
    let text = String::from_utf8_lossy(&text[..text.len().min(TOKENIZER_TEXT_BYTES)]).into_owned();
    for special in [false, true] {
        let ids = |source: &Source| -> Result<Vec<u32>> {
            let encoding = source.tokenizer()?.encode(text.as_str(), special);
            Ok(encoding.map_err(anyhow::Error::msg)?.get_ids().to_vec())
        };
        ensure!(
            ids(source)? == ids(artifact)?,
            "{}: its tokenizer cuts {} into other tokens than that of {}",
            artifact.path().display(),
            set.source.display(),
            source.path().display()
        );
    }
    Ok(())
}

/// Some tokens of a set's text.
pub(crate) fn corpus(set: &Evaluation, source: &Source, tokens: u64) -> Result<Corpus> {
    let (tokenizer, length) = (source.tokenizer()?, set.sequence_length as usize);
    Ok(match set.sample {
        Sample::Spread => Corpus::spread(&set.source, &tokenizer, tokens as usize, length)?,
        Sample::Start => Corpus::read(&set.source, &tokenizer, None, tokens as usize, length)?,
    })
}

fn results(set: &Evaluation, measured: &Measured, quality: Quality) -> [MetricResult; 2] {
    let of_baselines = |value: fn(&Quality) -> f64| -> IndexMap<String, f64> {
        measured
            .baselines
            .iter()
            .map(|(name, quality)| (name.clone(), value(quality)))
            .collect()
    };
    let tokens = measured.reference.num_tokens();
    [
        MetricResult {
            set: set.name.clone(),
            metric: Metric::Perplexity,
            dense: measured.reference.perplexity,
            compressed: quality.perplexity,
            baselines: of_baselines(|quality| quality.perplexity),
            tokens,
        },
        MetricResult {
            set: set.name.clone(),
            metric: Metric::KlDivergence,
            dense: 0.0,
            compressed: quality.kl_divergence,
            baselines: of_baselines(|quality| quality.kl_divergence),
            tokens,
        },
    ]
}

fn gates(set: &Evaluation, measured: &Measured, quality: Quality) -> Vec<GateResult> {
    let limits = [
        (
            "max_perplexity_ratio",
            set.gate.max_perplexity_ratio,
            quality.perplexity / measured.reference.perplexity,
        ),
        (
            "max_perplexity",
            set.gate.max_perplexity,
            quality.perplexity,
        ),
        ("max_kl", set.gate.max_kl, quality.kl_divergence),
    ];
    limits
        .into_iter()
        .filter_map(|(name, limit, value)| {
            let limit = limit?;
            Some(GateResult {
                set: set.name.clone(),
                limit: format!("{name} ≤ {limit}"),
                value,
                passed: value <= limit,
            })
        })
        .collect()
}
