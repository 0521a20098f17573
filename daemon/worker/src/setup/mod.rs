//! From a plan to what a run works with. The daemon's questions before a run ([`crate::check`]) and
//! the run itself are answered by this code.

mod delivered;
mod formats;
mod search_settings;
mod space;
mod used_plugins;

pub(crate) use delivered::delivered;
pub(crate) use formats::{misplaced, unwritable};
pub(crate) use search_settings::{fast_settings, search_settings};
pub(crate) use space::{bytes_per_weight, search_space, units};
pub(crate) use used_plugins::{UsedFitness, UsedMethod};
