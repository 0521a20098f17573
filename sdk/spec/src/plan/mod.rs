//! The resolved pipeline: no `Option` left that has a default, every path absolute. It is what the
//! worker accepts (`plan.json`) and what a run's identity is computed from.

mod address;
mod artifact;
mod evaluation;
mod limits;
mod model;
mod origin;
mod plugin_use;
mod publish;
mod search;
mod target;
mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use address::{Address, ModelVersion, is_gguf};
pub use artifact::{Artifact, ArtifactFormat};
pub use evaluation::{Evaluation, Gate, Sample};
pub use limits::Limits;
pub use model::{Device, Dtype, Model, ModelLocation};
pub use origin::Origin;
pub use plugin_use::PluginUse;
pub use publish::{Credentials, Publish, Secret, ToHub, ToMlflow, ToObjects, ToOci};
pub use search::{Generations, Grouping, Ingredient, Initial, Limit, Mode, Search, SelectionStage};
pub use target::Target;
pub use text::{Bos, Calibration, Database};

/// One pipeline, ready to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the pipeline, DNS-like: `[a-z0-9-]`, at most 63 characters.
    pub name: String,
    /// Free labels of the user, carried into the report.
    pub labels: BTreeMap<String, String>,
    /// The model to compress.
    pub model: Model,
    /// The text that the search and data-driven methods see.
    pub calibration: Calibration,
    /// The text that level databases are built from.
    pub database: Database,
    /// Method plugins, at least one; several only for a budget in bytes.
    pub methods: Vec<PluginUse>,
    /// The budget.
    pub target: Target,
    /// The evolutionary search.
    pub search: Search,
    /// Baselines that the report compares with.
    pub baselines: Baselines,
    /// Held-out sets that the written artifact is measured on.
    pub evaluation: Vec<Evaluation>,
    /// What is written into the run's `model/`.
    pub artifacts: Vec<Artifact>,
    /// Where a finished model goes.
    pub publish: Vec<Publish>,
    /// What the run may take of a machine.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
}

/// Baselines that cost a search of their own; the one-shot ones are always computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baselines {
    /// N of "best of N random genotypes"; 0 leaves it out.
    pub random: u32,
}
