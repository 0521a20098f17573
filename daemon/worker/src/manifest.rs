//! `manifest.json`: what a result was made of.

use anyhow::Result;
use evopress_core::digest_bytes;
use evopress_spec::{Limits, Plan};
use serde::Serialize;

use crate::compute::Compute;
use crate::digests::Digests;
use crate::identity::Identity;
use crate::process;
use crate::setup::{UsedFitness, UsedMethod};

/// Digests of all inputs, versions and hardware.
#[derive(Debug, Serialize)]
pub(crate) struct Manifest {
    run: String,
    /// SHA-256 of the spec as it was dropped.
    spec_digest: String,
    #[serde(flatten)]
    identity: Identity,
    hardware: String,
    seed: u64,
}

impl Manifest {
    /// Of the run with the ID `run`, whose spec has the bytes `spec`.
    pub(crate) fn new(
        run: String,
        spec: &[u8],
        plan: &Plan,
        digests: &Digests,
        methods: &[UsedMethod],
        fitness: &UsedFitness,
        compute: &Compute,
    ) -> Result<Self> {
        let inputs = digests.iter();
        let inputs = inputs.map(|file| (file.path.display().to_string(), file.sha256.clone()));
        let methods = methods.iter().map(|it| (it.name.as_str(), &it.sha256));
        let plugins = methods.chain([(fitness.name(), &fitness.sha256)]);
        let versions = [
            ("evopressd", env!("CARGO_PKG_VERSION")),
            ("libtorch", "2.11.0"),
        ];
        Ok(Self {
            run,
            spec_digest: digest_bytes(spec),
            identity: Identity {
                plan_digest: digest_bytes(&serde_json::to_vec(&Plan {
                    // What a run may take decides how long it takes.
                    limits: Limits::default(),
                    ..plan.clone()
                })?),
                inputs: inputs.collect(),
                plugins: plugins
                    .map(|(name, sha256)| (name.to_owned(), sha256.clone()))
                    .collect(),
                versions: versions
                    .map(|(program, version)| (program.to_owned(), version.to_owned()))
                    .into(),
            },
            hardware: process::hardware(compute.device, compute.threads),
            seed: plan.search.seed,
        })
    }

    /// SHA-256 of the spec as it was dropped, hex.
    pub(crate) fn spec_digest(&self) -> &str {
        &self.spec_digest
    }

    /// Everything that decides what the search finds.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The machine, in words.
    pub(crate) fn hardware(&self) -> &str {
        &self.hardware
    }
}
