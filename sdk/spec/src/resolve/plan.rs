//! From a spec to its plan.

use std::path::PathBuf;

use serde_json::Value;

use super::defaults::{Defaults, EVALUATION_TOKENS, FIRST_TOKEN_SHARE, INITIAL_TOKENS};
use super::lookup::Wanted;
use super::resolver::Resolver;
use super::{origin, publish};
use crate::typed;
use crate::{
    Address, Calibration, Database, Evaluation, Gate, Generations, Initial, Limit, Mode,
    ModelLocation, Plan, PluginUse, Search, SelectionStage,
};

/// Resolves a spec to its plan.
pub(crate) fn resolve(spec: &typed::Spec, resolver: &mut Resolver<'_>) -> Plan {
    let target = target(&spec.target);
    let mode = mode(&spec.search);
    let defaults = Defaults::of(target, mode);
    let calibration = calibration(&spec.calibration, &defaults, resolver);
    let evaluation = spec.evaluation.iter().enumerate();
    Plan {
        name: spec.metadata.name.clone(),
        labels: spec.metadata.labels.clone(),
        model: model(&spec.model, resolver),
        methods: spec
            .methods
            .iter()
            .map(|method| plugin(&method.plugin, &method.options))
            .collect(),
        database: database(&spec.database, &calibration, resolver),
        target,
        search: search(&spec.search, mode, &defaults, &calibration),
        baselines: crate::Baselines {
            random: spec.baselines.random,
        },
        evaluation: evaluation
            .map(|(idx, set)| evaluation_set(idx, set, &calibration, resolver))
            .collect(),
        calibration,
        artifacts: spec
            .artifacts
            .iter()
            .map(|artifact| crate::Artifact {
                format: artifact.format,
            })
            .collect(),
        publish: spec
            .publish
            .iter()
            .enumerate()
            .map(|(idx, to)| publish::resolve(idx, to, &spec.metadata.name, resolver))
            .collect(),
        limits: crate::Limits {
            memory_bytes: spec.limits.memory.map(|size| size.0),
            device_memory_bytes: spec.limits.device_memory.map(|size| size.0),
        },
    }
}

fn target(typed: &typed::Target) -> crate::Target {
    use crate::Target::{BitsPerWeight, Compression, Drop, SizeBytes, Sparsity};
    let given = [
        typed.drop.map(Drop),
        typed.sparsity.map(Sparsity),
        typed.bits_per_weight.map(BitsPerWeight),
        typed.size_bytes.map(SizeBytes),
        typed.compression.map(Compression),
    ];
    given
        .into_iter()
        .flatten()
        .next()
        .expect("the schema demands exactly one budget")
}

/// Where a model is, and how the run computes with it.
fn model(typed: &typed::Model, resolver: &mut Resolver<'_>) -> crate::Model {
    const AT: &str = "/model/source";
    let location = match Address::read(&typed.source) {
        None => {
            origin::check_local(typed, resolver);
            ModelLocation::Local(resolver.find(AT, &typed.source, Wanted::Model))
        }
        Some(Ok(address)) => ModelLocation::Remote(origin::remote(address, typed, resolver)),
        Some(Err(message)) => {
            resolver.fault(&[AT], &message);
            ModelLocation::Local(PathBuf::from(&typed.source))
        }
    };
    crate::Model {
        location,
        dtype: typed.dtype,
        device: device(&typed.device, resolver),
    }
}

fn calibration(
    typed: &typed::Calibration,
    defaults: &Defaults,
    resolver: &mut Resolver<'_>,
) -> Calibration {
    let sequence_length = typed.sequence_length;
    Calibration {
        source: resolver.find("/calibration/source", &typed.source, Wanted::Text),
        tokens: typed
            .tokens
            .unwrap_or_else(|| whole_sequences(defaults.calibration_tokens, sequence_length)),
        sequence_length,
        bos: typed.bos,
    }
}

/// A text that is not given is not looked for, so a mistake in the calibration's is told once.
fn database(
    typed: &typed::Database,
    calibration: &Calibration,
    resolver: &mut Resolver<'_>,
) -> Database {
    let sequence_length = typed.sequence_length.unwrap_or(calibration.sequence_length);
    Database {
        source: match &typed.source {
            Some(source) => resolver.find("/database/source", source, Wanted::Text),
            None => calibration.source.clone(),
        },
        tokens: typed
            .tokens
            .unwrap_or_else(|| whole_sequences(calibration.tokens, sequence_length)),
        sequence_length,
        first_token_share: typed.first_token_share.unwrap_or(FIRST_TOKEN_SHARE),
        bos: calibration.bos,
    }
}

/// The kind of search: the paper's where one of its fields is given, else the fast one.
fn mode(typed: &typed::Search) -> Mode {
    let is_paper = typed.of_paper().iter().any(|(_, is_given)| *is_given);
    let default = if is_paper { Mode::Paper } else { Mode::Fast };
    typed.mode.unwrap_or(default)
}

fn search(
    typed: &typed::Search,
    mode: Mode,
    defaults: &Defaults,
    calibration: &Calibration,
) -> Search {
    let offspring = typed.offspring.unwrap_or(defaults.offspring);
    // A default never asks for more than the calibration set has, or for parts of a sequence.
    let fit =
        |tokens: u64| whole_sequences(tokens, calibration.sequence_length).min(calibration.tokens);
    let default_stage = |&(tokens, survivors): &(u64, u32)| SelectionStage {
        tokens: fit(tokens),
        survivors: survivors.min(offspring),
    };
    Search {
        mode,
        grouping: typed.grouping,
        generations: typed
            .generations
            .map_or(Generations::Paper, Generations::Fixed),
        offspring,
        initial: Initial {
            genotypes: typed
                .initial
                .genotypes
                .unwrap_or(defaults.initial_genotypes),
            tokens: typed.initial.tokens.unwrap_or_else(|| fit(INITIAL_TOKENS)),
            baselines: typed.initial.baselines,
        },
        stages: match &typed.stages {
            None => defaults.stages.iter().map(default_stage).collect(),
            Some(stages) => stages
                .iter()
                .map(|stage| SelectionStage {
                    tokens: stage.tokens,
                    survivors: stage.survivors,
                })
                .collect(),
        },
        fitness: plugin(&typed.fitness.plugin, &typed.fitness.options),
        limit: Limit {
            forward_tokens: typed.limit.forward_tokens,
            seconds: typed.limit.minutes.map(|minutes| 60.0 * minutes),
            fitness: typed.limit.fitness,
        },
        without: typed.without.clone(),
        seed: typed.seed,
    }
}

fn evaluation_set(
    idx: usize,
    typed: &typed::Evaluation,
    calibration: &Calibration,
    resolver: &mut Resolver<'_>,
) -> Evaluation {
    let sequence_length = typed.sequence_length.unwrap_or(calibration.sequence_length);
    Evaluation {
        name: typed.name.clone(),
        source: resolver.find(
            &format!("/evaluation/{idx}/source"),
            &typed.source,
            Wanted::Text,
        ),
        sequence_length,
        tokens: typed
            .tokens
            .unwrap_or_else(|| whole_sequences(EVALUATION_TOKENS, sequence_length)),
        sample: typed.sample,
        bos: typed.bos,
        gate: Gate {
            max_perplexity_ratio: typed.gate.max_perplexity_ratio,
            max_perplexity: typed.gate.max_perplexity,
            max_kl: typed.gate.max_kl,
        },
    }
}

fn device(typed: &str, resolver: &mut Resolver<'_>) -> crate::Device {
    typed.parse().unwrap_or_else(|message: String| {
        resolver.fault(&["/model/device"], &message);
        crate::Device::Auto
    })
}

fn plugin(name: &str, options: &serde_json::Map<String, Value>) -> PluginUse {
    PluginUse {
        plugin: name.to_owned(),
        options: Value::Object(options.clone()),
    }
}

/// The least multiple of the sequence length that is not below `tokens`.
fn whole_sequences(tokens: u64, sequence_length: u32) -> u64 {
    tokens.next_multiple_of(u64::from(sequence_length))
}
