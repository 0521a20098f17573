//! What the methods have against the model, and the space that is searched.

use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_plugin::host::PluginDir;
use evopress_spec::Plan;

use super::placed::Placed;
use crate::sentence::sentence;
use crate::setup::{self, UsedMethod};

/// The methods and the search space, or what they have against the model or the target.
pub(super) fn of(
    plan: &Plan,
    plugins: &PluginDir,
    source: &Source,
) -> Result<(Vec<UsedMethod>, SearchSpace), Vec<Placed>> {
    let target = format!("/target/{}", plan.target.measure());
    let at = |pointer: &str, error: &anyhow::Error| Placed::new(pointer, sentence(error));
    let mut mistakes = Vec::new();
    let mut methods = Vec::new();
    for (idx, used) in plan.methods.iter().enumerate() {
        match UsedMethod::load(used, plugins) {
            Ok(method) => {
                let message = method.wrong_measure(plan.target);
                mistakes.extend(message.map(|message| Placed::new(&target, message)));
                methods.push(method);
            }
            Err(error) => mistakes.push(at(&format!("/methods/{idx}/options"), &error)),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let mut units = Vec::new();
    for (idx, method) in methods.iter().enumerate() {
        match setup::units(plan, method, source) {
            Ok(of_method) => units.push(of_method),
            Err(error) => mistakes.push(at(&format!("/methods/{idx}"), &error)),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let space =
        setup::search_space(plan, &units, source).map_err(|error| vec![at(&target, &error)])?;
    drop(units);
    let misplaced = setup::misplaced(plan, source, &space).into_iter();
    let misplaced: Vec<Placed> = misplaced
        .map(|(idx, message)| Placed::new(format!("/artifacts/{idx}/format"), message))
        .collect();
    match misplaced.is_empty() {
        true => Ok((methods, space)),
        false => Err(misplaced),
    }
}
