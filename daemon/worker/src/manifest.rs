//! What a result is made of: digests of all inputs, versions and hardware.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use evopress::source::Source;
use evopress_plugin::PluginKind;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Plan, digest_bytes, digest_path};
use serde::Serialize;

/// `manifest.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Manifest {
    run: String,
    /// SHA-256 of the spec as it was dropped.
    spec_digest: String,
    plan_digest: String,
    /// SHA-256 by path.
    inputs: BTreeMap<String, String>,
    /// SHA-256 by plugin name.
    plugins: BTreeMap<String, String>,
    versions: BTreeMap<&'static str, &'static str>,
    hardware: String,
    seed: u64,
}

impl Manifest {
    pub(crate) fn new(
        run: String,
        spec: &[u8],
        plan: &Plan,
        source: &Source,
        plugins: &PluginDir,
        hardware: String,
    ) -> Result<Self> {
        let mut inputs = BTreeMap::new();
        let mut files = source.digest_files();
        files.push(plan.calibration.source.clone());
        files.extend(plan.evaluation.iter().map(|set| set.source.clone()));
        for file in files {
            let digest = digest_path(&file).with_context(|| file.display().to_string())?;
            inputs.insert(file.display().to_string(), digest);
        }
        let mut used = BTreeMap::new();
        for method in &plan.methods {
            used.insert(
                method.plugin.clone(),
                plugins.find(&method.plugin, PluginKind::Method)?.sha256,
            );
        }
        let fitness = &plan.search.fitness.plugin;
        used.insert(
            fitness.clone(),
            plugins.find(fitness, PluginKind::Fitness)?.sha256,
        );
        Ok(Self {
            run,
            spec_digest: digest_bytes(spec),
            plan_digest: digest_bytes(&serde_json::to_vec(plan)?),
            inputs,
            plugins: used,
            versions: [
                ("evopressd", env!("CARGO_PKG_VERSION")),
                ("libtorch", "2.11.0"),
            ]
            .into(),
            hardware,
            seed: plan.search.seed,
        })
    }

    pub(crate) fn spec_digest(&self) -> &str {
        &self.spec_digest
    }

    /// Digest of everything that decides what the search finds.
    pub(crate) fn identity(&self) -> Result<String> {
        Ok(digest_bytes(&serde_json::to_vec(&(
            &self.plan_digest,
            &self.inputs,
            &self.plugins,
            &self.versions,
        ))?))
    }
}
