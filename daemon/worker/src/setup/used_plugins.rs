//! The plugins of a plan, loaded.

use std::sync::Arc;

use anyhow::Result;
use evopress_plugin::host::PluginDir;
use evopress_plugin::{Fitness, Method, PluginKind};
use evopress_spec::{PluginUse, Target};
use serde_json::Value;

/// A method of a plan.
pub(crate) struct UsedMethod {
    /// The plugin's name.
    pub(crate) name: String,
    /// The options that it was made with.
    pub(crate) options: Value,
    /// SHA-256 of the plugin's file, hex.
    pub(crate) sha256: String,
    pub(crate) method: Arc<dyn Method>,
}

/// The fitness of a plan: where its plugin is. It is made by [`UsedFitness::make`].
pub(crate) struct UsedFitness {
    used: PluginUse,
    plugins: PluginDir,
    /// SHA-256 of the plugin's file, hex.
    pub(crate) sha256: String,
}

impl UsedMethod {
    /// Finds and makes it.
    ///
    /// # Errors
    /// There is no such plugin, it cannot be loaded, or it refuses its options.
    pub(crate) fn load(used: &PluginUse, plugins: &PluginDir) -> Result<Self> {
        Ok(Self {
            name: used.plugin.clone(),
            options: used.options.clone(),
            sha256: plugins.find(&used.plugin, PluginKind::Method)?.sha256,
            method: Arc::from(plugins.method(&used.plugin, &used.options)?),
        })
    }

    /// Why `target` is not one of the method's, if so.
    pub(crate) fn wrong_measure(&self, target: Target) -> Option<String> {
        if target.is_in_bytes() {
            return None;
        }
        let (asked, offered) = (target.measure(), self.method.measure());
        (asked != offered).then(|| {
            format!(
                "found the budget `{asked}`, but method `{}` is budgeted in `{offered}`",
                self.name
            )
        })
    }
}

impl UsedFitness {
    /// Finds it.
    ///
    /// # Errors
    /// There is no such plugin, or it cannot be loaded.
    pub(crate) fn find(used: &PluginUse, plugins: PluginDir) -> Result<Self> {
        Ok(Self {
            sha256: plugins.find(&used.plugin, PluginKind::Fitness)?.sha256,
            used: used.clone(),
            plugins,
        })
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        &self.used.plugin
    }

    /// Makes it.
    ///
    /// # Errors
    /// It cannot be loaded, it refuses its options, or it panics.
    pub(crate) fn make(&self) -> Result<Arc<dyn Fitness>> {
        let made = self.plugins.fitness(&self.used.plugin, &self.used.options);
        Ok(Arc::from(made?))
    }
}
