//! What the stage works with.

use std::sync::Arc;

use evopress::genotype::SearchSpace;
use evopress::model::Engine;
use evopress::source::Source;
use evopress_plugin::Fitness;
use evopress_spec::Plan;

use crate::checkpoint::Checkpoint;
use crate::recorder::Recorder;
use crate::stages::database::Databases;

/// A loaded model, what may be done to it, and how the plan wants its search.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) source: &'a Source,
    pub(crate) space: &'a SearchSpace,
    pub(crate) fitness: &'a Arc<dyn Fitness>,
    pub(crate) databases: &'a Databases,
    pub(crate) engine: &'a Engine,
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) recorder: &'a Recorder,
    /// What streams of a parent may take of memory.
    pub(crate) residual_cache_bytes: u64,
}
