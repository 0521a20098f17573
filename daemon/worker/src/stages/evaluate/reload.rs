//! The artifacts, loaded again from disk.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use evopress::export;
use evopress::source::Source;
use evopress_spec::Evaluation;

use super::inputs::Inputs;

/// How much of a text the tokenizers are compared on.
const TOKENIZER_TEXT_BYTES: usize = 1 << 16;

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
    let text = std::fs::read(&set.source).with_context(|| set.source.display().to_string())?;
    let text = String::from_utf8_lossy(&text[..text.len().min(TOKENIZER_TEXT_BYTES)]).into_owned();
    for special in [false, true] {
        let ids = |source: &Source| -> Result<Vec<u32>> {
            let encoding = source.tokenizer()?.encode(text.as_str(), special);
            Ok(encoding.map_err(anyhow::Error::msg)?.get_ids().to_vec())
        };
        ensure!(
            ids(source)? == ids(artifact)?,
            "{}: its tokenizer cuts {} into other tokens than the tokenizer of {}",
            artifact.path().display(),
            set.source.display(),
            source.path().display()
        );
    }
    Ok(())
}
