//! Everything that a run reads, read before it begins: plugins and their options, the device, the
//! model with its small files, the texts down to their tokens, what artifacts demand.
//!
//! `evopressd validate`, the daemon's check and the first step of a run are this code, so a plan
//! that is called good does not fail for its input later.

mod model;
mod placed;
mod plugins;
mod space;
mod texts;

use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Plan, SequenceStart};

use crate::setup::UsedMethod;

pub(crate) use placed::{Placed, Unsure};

/// What was found.
#[derive(Default)]
pub(crate) struct Preflight {
    /// Because of which the run would fail.
    pub(crate) mistakes: Vec<Placed>,
    /// What its user should know.
    pub(crate) warnings: Vec<Placed>,
    /// The model, where it is on this machine and can be read.
    pub(crate) source: Option<Source>,
    /// How the sequences of each text begin, where there is a model.
    pub(crate) sequences: Vec<SequenceStart>,
    /// The methods with the space that is searched, where there is no mistake and a model.
    pub(crate) searched: Option<(Vec<UsedMethod>, SearchSpace)>,
}

/// Reads all that `plan` names. Nothing is said of the places that `unsure` holds: stand-ins for
/// what the spec has wrong.
pub(crate) fn examine(plan: &Plan, plugins: &PluginDir, unsure: &Unsure) -> Preflight {
    let mut found = Preflight {
        mistakes: plugins::mistakes(plan, plugins, unsure),
        ..Preflight::default()
    };
    if !unsure.touches("/model/source") {
        model::examine(plan, unsure, &mut found);
    }
    texts::examine(plan, unsure, &mut found);
    found.mistakes.retain(|it| !unsure.touches(&it.pointer));
    if let (true, true, Some(source)) =
        (found.mistakes.is_empty(), unsure.is_empty(), &found.source)
    {
        match space::of(plan, plugins, source) {
            Ok(searched) => found.searched = Some(searched),
            Err(mistakes) => found.mistakes = mistakes,
        }
    }
    found
}
