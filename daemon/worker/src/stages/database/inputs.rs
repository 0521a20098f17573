//! What the stage works with.

use std::sync::Arc;

use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_cache::Cache;
use evopress_spec::{Database, Dtype};

use crate::compute::Compute;
use crate::digests::Digests;
use crate::recorder::Recorder;
use crate::setup::UsedMethod;

/// What databases are made from, and where.
pub(crate) struct Inputs<'a> {
    /// The text that methods see.
    pub(crate) text: &'a Database,
    pub(crate) dtype: Dtype,
    pub(crate) source: &'a Arc<Source>,
    pub(crate) methods: &'a [UsedMethod],
    pub(crate) space: &'a SearchSpace,
    pub(crate) digests: &'a Digests,
    pub(crate) cache: &'a Cache,
    pub(crate) compute: &'a Compute,
    pub(crate) recorder: &'a Recorder,
}
