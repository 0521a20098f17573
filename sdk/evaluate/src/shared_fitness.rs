//! A fitness plugin in the hands of several threads.

use std::sync::Arc;

use evopress_plugin::Fitness;

/// A fitness plugin, shared by the compute threads.
pub type SharedFitness = Arc<dyn Fitness>;
