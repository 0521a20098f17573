//! The artifacts, loaded again from disk.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use evopress::export;
use evopress::source::Source;
use evopress_spec::Evaluation;

use super::inputs::Inputs;
use crate::texts;

/// Loads every artifact, and checks it against the genotype, the budget and the tokenizer of the
/// model that it came from. Returns the first one.
pub(super) fn verified(inputs: &Inputs<'_>) -> Result<Arc<Source>> {
    let candidate = inputs.space.candidate(inputs.genotype);
    let mut first = None;
    for format in inputs.layout.formats() {
        let artifact = Arc::new(Source::open_artifact(&inputs.layout.path(format))?);
        export::verify(
            &artifact,
            inputs.source,
            inputs.space,
            inputs.databases,
            &candidate,
            inputs.compute.kind,
        )?;
        if let Some(set) = inputs.sets.first() {
            check_tokens(set, inputs.source, &artifact)?;
        }
        first = first.or(Some(artifact));
    }
    first.context("the plan has no artifact")
}

/// The artifact must cut a held-out text into the tokens of the model that it came from.
fn check_tokens(set: &Evaluation, source: &Source, artifact: &Source) -> Result<()> {
    let (ours, theirs) = (source.tokenizer()?, artifact.tokenizer()?);
    ensure!(
        texts::are_cut_alike(&set.source, &ours, &theirs)?,
        "{}: its tokenizer cuts {} into other tokens than the tokenizer of {}",
        artifact.path().display(),
        set.source.display(),
        source.path().display()
    );
    Ok(())
}
