//! Where the paths of a spec begin.

use std::path::PathBuf;

/// Where the paths of a spec begin: a relative one is tried in the spec's folder, then in each data
/// root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roots {
    /// The folder that the spec is in.
    pub spec_dir: PathBuf,
    /// The configured data roots, in order.
    pub data_roots: Vec<PathBuf>,
}
