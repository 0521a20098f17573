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
mod weights;

use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_plugin::host::PluginDir;
use evopress_spec::{Plan, SequenceStart};

use crate::setup::UsedMethod;

pub(crate) use placed::{Placed, Unsure};
pub(crate) use weights::WeightScan;

/// What the space of a search is made from.
const OF_SEARCH: [&str; 4] = ["/methods", "/target", "/model/dtype", "/search/grouping"];

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
pub(crate) fn examine(
    plan: &Plan,
    plugins: &PluginDir,
    scan: WeightScan<'_>,
    unsure: &Unsure,
) -> Preflight {
    let mut found = Preflight {
        mistakes: plugins::mistakes(plan, plugins, unsure),
        ..Preflight::default()
    };
    if !unsure.touches("/model/source") {
        model::examine(plan, scan, unsure, &mut found);
    }
    texts::examine(plan, unsure, &mut found);
    let of_search = match &found.source {
        Some(source) if can_be_searched(unsure, &found.mistakes) => {
            Some(space::of(plan, plugins, source))
        }
        _ => None,
    };
    match of_search {
        Some(Err(mistakes)) => {
            // An artifact that cannot hold the model at all is told of once.
            let is_new = |it: &Placed| !found.mistakes.iter().any(|at| at.pointer == it.pointer);
            let new: Vec<Placed> = mistakes.into_iter().filter(is_new).collect();
            found.mistakes.extend(new);
        }
        Some(Ok(searched)) if found.mistakes.is_empty() && unsure.is_empty() => {
            found.searched = Some(searched);
        }
        _ => {}
    }
    found.mistakes.retain(|it| !unsure.touches(&it.pointer));
    found
}

/// Whether what a search is made from is as it should be, whatever is wrong with the rest.
fn can_be_searched(unsure: &Unsure, mistakes: &[Placed]) -> bool {
    let is_of_search = |pointer: &str| OF_SEARCH.iter().any(|it| pointer.starts_with(it));
    !OF_SEARCH.iter().any(|it| unsure.touches(it))
        && !mistakes.iter().any(|it| is_of_search(&it.pointer))
}
