//! Whether the artifacts of a plan can hold its results.

use evopress::export;
use evopress::genotype::SearchSpace;
use evopress::source::Source;
use evopress_spec::{ArtifactFormat, Plan};

use crate::artifact_layout::packed;

/// The first artifact of a plan that cannot be written for its model, by its index, and why.
pub(crate) fn unwritable(plan: &Plan, source: &Source) -> Option<(usize, String)> {
    refused(plan, |format| match format {
        ArtifactFormat::Gguf => export::gguf::check(source),
        ArtifactFormat::NemotronNas => export::nemotron_nas::check(source),
        _ => Ok(()),
    })
}

/// The first artifact of a plan whose format cannot hold the search space's levels, by its index,
/// and why.
pub(crate) fn misplaced(
    plan: &Plan,
    source: &Source,
    space: &SearchSpace,
) -> Option<(usize, String)> {
    refused(plan, |format| match (format, packed(format)) {
        (ArtifactFormat::NemotronNas, _) => export::nemotron_nas::check_space(space),
        (ArtifactFormat::Gguf, _) => export::gguf::check_space(source, space),
        (_, Some(packed)) => export::packed::check(source, space, packed),
        _ => Ok(()),
    })
}

/// The first artifact of a plan that `check` refuses, by its index, and why.
fn refused(
    plan: &Plan,
    check: impl Fn(ArtifactFormat) -> export::Result<()>,
) -> Option<(usize, String)> {
    let mut artifacts = plan.artifacts.iter().enumerate();
    artifacts.find_map(|(idx, artifact)| {
        let error = check(artifact.format).err()?;
        Some((idx, error.to_string()))
    })
}
