//! Whether the artifacts of a plan can hold its results.

use evopress::export;
use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_spec::{ArtifactFormat, Plan};

use crate::artifact_layout::packed;

/// The artifacts of a plan that cannot be written for its model, by their indices, and why.
pub(crate) fn unwritable(plan: &Plan, source: &Source) -> Vec<(usize, String)> {
    refused(plan, |format| match format {
        ArtifactFormat::Gguf => export::gguf::check(source),
        ArtifactFormat::NemotronNas => export::nemotron_nas::check(source),
        _ => Ok(()),
    })
}

/// The artifacts of a plan whose formats cannot hold the search space's levels, by their indices,
/// and why.
pub(crate) fn misplaced(plan: &Plan, source: &Source, space: &SearchSpace) -> Vec<(usize, String)> {
    refused(plan, |format| match (format, packed(format)) {
        (ArtifactFormat::NemotronNas, _) => export::nemotron_nas::check_space(space),
        (ArtifactFormat::Gguf, _) => export::gguf::check_space(source, space),
        (_, Some(packed)) => export::packed::check(source, space, packed),
        _ => Ok(()),
    })
}

/// The artifacts of a plan that `check` refuses, by their indices, and why.
fn refused(
    plan: &Plan,
    check: impl Fn(ArtifactFormat) -> export::Result<()>,
) -> Vec<(usize, String)> {
    let artifacts = plan.artifacts.iter().enumerate();
    let refused = artifacts.filter_map(|(idx, artifact)| {
        let error = check(artifact.format).err()?;
        Some((idx, error.to_string()))
    });
    refused.collect()
}
