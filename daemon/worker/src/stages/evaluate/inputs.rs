//! What the stage works with.

use std::sync::Arc;

use evopress::baselines::Baseline;
use evopress::genotype::{Genotype, SearchSpace};
use evopress::levels::Database;
use evopress::source::Source;
use evopress_spec::Evaluation;

use crate::artifact_layout::ArtifactLayout;
use crate::compute::Compute;
use crate::recorder::Recorder;

/// The written artifacts, and what they are compared with.
pub(crate) struct Inputs<'a> {
    pub(crate) sets: &'a [Evaluation],
    pub(crate) source: &'a Source,
    pub(crate) space: &'a SearchSpace,
    /// One for each method, in their order.
    pub(crate) databases: &'a [Arc<Database>],
    pub(crate) baselines: &'a [Baseline],
    /// The winner.
    pub(crate) genotype: &'a Genotype,
    pub(crate) layout: &'a ArtifactLayout,
    pub(crate) compute: &'a Compute,
    pub(crate) recorder: &'a Recorder,
}
