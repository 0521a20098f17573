//! What the stage works with.

use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_spec::{Plan, RunDir, SequenceStart};

use crate::artifact_layout::ArtifactLayout;
use crate::recorder::Recorder;
use crate::stages::search::Searched;

/// What the run was asked for, and what it has found and written.
pub(crate) struct Inputs<'a> {
    pub(crate) dir: &'a RunDir,
    pub(crate) plan: &'a Plan,
    /// SHA-256 of the spec as it was dropped.
    pub(crate) spec_digest: &'a str,
    /// The machine, in words.
    pub(crate) hardware: &'a str,
    pub(crate) source: &'a Source,
    /// How the sequences of each text begin.
    pub(crate) sequences: &'a [SequenceStart],
    pub(crate) space: &'a SearchSpace,
    pub(crate) layout: &'a ArtifactLayout,
    pub(crate) searched: &'a Searched,
    pub(crate) recorder: &'a Recorder,
}
