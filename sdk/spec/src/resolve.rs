//! From what was typed to what is run: defaults filled in, paths found.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::check::Roots;
use crate::lookup::{self, Wanted};
use crate::mistake::Fault;
use crate::origin;
use crate::registries;
use crate::structure::Tainted;
use crate::tree::Tree;
use crate::typed;
use crate::{
    Address, Calibration, Database, Evaluation, Gate, Generations, Initial, Limit, Mode,
    ModelLocation, Plan, PluginUse, Search, SelectionStage,
};

/// Where paths begin and where mistakes go.
pub(crate) struct Resolver<'a> {
    roots: &'a Roots,
    tree: &'a Tree,
    tainted: &'a Tainted,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(
        roots: &'a Roots,
        tree: &'a Tree,
        tainted: &'a Tainted,
        faults: &'a mut Vec<Fault>,
    ) -> Self {
        Resolver {
            roots,
            tree,
            tainted,
            faults,
        }
    }

    /// Reports a mistake at the first of the places that it follows from, unless one of them is a mistake already.
    pub(crate) fn fault(&mut self, pointers: &[&str], message: &str) {
        let known = |pointer: &&str| self.tainted.touches(pointer);
        if let Some(at) = pointers.first().filter(|_| !pointers.iter().any(known)) {
            self.faults
                .push(Fault::new(self.tree.value_at(at), at, message));
        }
    }

    /// Reports a mistake at the key of a field, unless it, or what it is `about`, is a mistake already.
    pub(crate) fn fault_at_key(&mut self, about: &str, at: &str, message: &str) {
        if !self.tainted.holds(about) && !self.tainted.holds(at) {
            self.faults
                .push(Fault::new(self.tree.key_at(at), at, message));
        }
    }

    /// A path relative to the spec's folder; nothing needs to be there yet.
    pub(crate) fn beside_spec(&self, typed: &str) -> PathBuf {
        let path = self.roots.spec_dir.join(typed);
        std::path::absolute(&path).unwrap_or(path)
    }

    pub(crate) fn find(&mut self, pointer: &str, typed: &str, wanted: Wanted) -> PathBuf {
        lookup::find(typed, wanted, self.roots).unwrap_or_else(|message| {
            self.fault(&[pointer], &message);
            PathBuf::from(typed)
        })
    }
}

/// The plan that a spec comes to.
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
            .map(|(idx, to)| registries::resolve(idx, to, &spec.metadata.name, resolver))
            .collect(),
    }
}

/// What counts where a spec says nothing: the paper's settings for a target.
struct Defaults {
    calibration_tokens: u64,
    offspring: u32,
    initial_genotypes: u32,
    stages: &'static [(u64, u32)],
}

/// More than a fast search comes to use.
const FAST_CALIBRATION_TOKENS: u64 = 131_072;
const INITIAL_TOKENS: u64 = 2048;
const EVALUATION_TOKENS: u64 = 32_768;
/// The best of 0, 0.125 and 0.3 for SmolLM2 at 3 bits.
const FIRST_TOKEN_SHARE: f64 = 0.125;

impl Defaults {
    fn of(target: crate::Target, mode: Mode) -> Defaults {
        let mut defaults = Defaults::of_paper(target);
        if mode == Mode::Fast {
            defaults.calibration_tokens = FAST_CALIBRATION_TOKENS;
        }
        defaults
    }

    fn of_paper(target: crate::Target) -> Defaults {
        match target {
            crate::Target::Drop(_) => Defaults {
                calibration_tokens: 131_072,
                offspring: 32,
                initial_genotypes: 64,
                stages: &[(2048, 2), (32_768, 1)],
            },
            crate::Target::Sparsity(_) => Defaults {
                calibration_tokens: 524_288,
                offspring: 64,
                initial_genotypes: 1,
                stages: &[(2048, 8), (16_384, 2), (65_536, 1)],
            },
            _ => Defaults {
                calibration_tokens: 524_288,
                offspring: 128,
                initial_genotypes: 64,
                stages: &[(2048, 16), (16_384, 4), (131_072, 1)],
            },
        }
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
            origin::none(typed, resolver);
            ModelLocation::Local(resolver.find(AT, &typed.source, Wanted::Model))
        }
        Some(Ok(address)) => ModelLocation::Remote(origin::of(address, typed, resolver)),
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
    }
}

/// Fields of the paper's search ask for it.
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

/// Whether two paths lead to the same file.
pub(crate) fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}
