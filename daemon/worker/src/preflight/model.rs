//! The model's files, and whether artifacts can hold it.

use anyhow::Result;
use evopress::source::Source;
use evopress_spec::{ArtifactFormat, Plan};

use super::Preflight;
use super::placed::{Placed, Unsure};
use super::weights::WeightScan;
use crate::sentence::sentence;
use crate::{sequence_start, setup, texts};

/// Opens the model, with the files that only the end of a run needs. One that is in a registry is
/// left out: whoever fetches it has the plan examined again.
pub(super) fn examine(plan: &Plan, scan: WeightScan<'_>, unsure: &Unsure, found: &mut Preflight) {
    const AT: &str = "/model/source";
    let Some(path) = plan.model.location.path() else {
        return;
    };
    let source = match Source::open(path) {
        Ok(source) => source,
        Err(error) => return found.mistakes.push(Placed::new(AT, error.to_string())),
    };
    let rule = (source.tokenizer()).and_then(|tokenizer| source.bos_rule(&tokenizer));
    match rule.and_then(|rule| Ok((rule, source.notes()?))) {
        Ok((rule, notes)) => {
            found.sequences = sequence_start::of_plan(plan, &rule);
            let warnings = notes.into_iter().map(|note| Placed::new(AT, note));
            found.warnings.extend(warnings);
        }
        Err(error) => return found.mistakes.push(Placed::new(AT, error.to_string())),
    }
    scan.examine(AT, &source, found);
    let unwritable = setup::unwritable(plan, &source);
    let refused: Vec<usize> = unwritable.iter().map(|(idx, _)| *idx).collect();
    for (idx, message) in unwritable {
        found.mistakes.push(Placed::new(format_of(idx), message));
    }
    found.warnings.extend(long_sequences(plan, &source));
    if !unsure.touches("/evaluation") && !unsure.touches("/artifacts") {
        found
            .mistakes
            .extend(cut_otherwise(plan, &source, &refused));
    }
    found.source = Some(source);
}

/// Sequences that are longer than the model was made for.
fn long_sequences(plan: &Plan, source: &Source) -> Vec<Placed> {
    let made_for = source.spec().max_position_embeddings;
    let by_default = match source.says_context() {
        true => "",
        false => " by default, since config.json has no max_position_embeddings",
    };
    let calibration = plan.calibration.sequence_length;
    let sets = plan.evaluation.iter().enumerate();
    let sets = sets.map(|(idx, set)| (format!("/evaluation/{idx}"), set.sequence_length));
    let others = [("/database".to_owned(), plan.database.sequence_length)];
    let others = others.into_iter().chain(sets);
    // What takes its length from the calibration is told with it.
    let others = others.filter(|(_, length)| *length != calibration);
    [("/calibration".to_owned(), calibration)]
        .into_iter()
        .chain(others)
        .filter(|(_, length)| i64::from(*length) > made_for)
        .map(|(section, length)| {
            let message = format!(
                "sequences of {length} tokens are longer than the {made_for} that the model was made for{by_default}"
            );
            Placed::new(format!("{section}/sequence_length"), message)
        })
        .collect()
}

fn format_of(artifact_idx: usize) -> String {
    format!("/artifacts/{artifact_idx}/format")
}

/// Artifacts whose tokenizer would cut the first held-out text into other tokens than the model's,
/// of those that are not refused already.
fn cut_otherwise(plan: &Plan, source: &Source, refused: &[usize]) -> Vec<Placed> {
    let Some(set) = plan.evaluation.first() else {
        return Vec::new();
    };
    let artifacts = plan.artifacts.iter().enumerate();
    let artifacts = artifacts.filter(|(idx, _)| !refused.contains(idx));
    let checked = artifacts.filter_map(|(idx, artifact)| {
        let differs = || -> Result<bool> {
            let rebuilt = match artifact.format {
                ArtifactFormat::Gguf => source.gguf_tokenizer()?,
                _ => source.hf_tokenizer()?,
            };
            let own = source.tokenizer()?;
            Ok(!texts::are_cut_alike(&set.source, &own, &rebuilt)?)
        };
        let message = match differs() {
            Ok(false) => return None,
            Ok(true) => format!(
                "the tokenizer of an artifact in this format cuts {} into other tokens than the model's: expected another format",
                set.source.display()
            ),
            Err(error) => sentence(&error),
        };
        Some(Placed::new(format_of(idx), message))
    });
    checked.collect()
}
