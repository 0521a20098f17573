//! The texts: whether they are long enough, counted in the model's own tokens, and whether the
//! model knows each of them.

use std::path::Path;

use anyhow::Result;
use evopress::source::{Corpus, Source, SourceError};
use evopress_spec::Plan;

use super::Preflight;
use super::placed::{Placed, Unsure};
use crate::sentence::sentence;
use crate::sequence_start::NoBos;
use crate::texts;

/// Share of a text from which one token is said to fill it.
const FILLED: f64 = 0.9;

/// A text that a plan names.
struct Named<'a> {
    /// Its section of the spec.
    section: String,
    path: &'a Path,
    tokens: u64,
    /// Reads it as the run will.
    read: Box<dyn Fn(&Source) -> Result<Corpus> + 'a>,
}

/// Reads the texts with the model's tokenizer; without a model only their sizes are compared.
pub(super) fn examine(plan: &Plan, unsure: &Unsure, found: &mut Preflight) {
    for text in named(plan) {
        if unsure.touches(&text.section) {
            continue;
        }
        let bytes = std::fs::metadata(text.path).map_or(u64::MAX, |it| it.len());
        if bytes < text.tokens {
            let message = format!(
                "found {} tokens asked of {}, which has only {bytes} bytes",
                text.tokens,
                text.path.display()
            );
            let pointer = format!("{}/tokens", text.section);
            found.mistakes.push(Placed::new(pointer, message));
            continue;
        }
        let Some(source) = &found.source else {
            continue;
        };
        match (text.read)(source) {
            Ok(corpus) => found.warnings.extend(filled(&text, &corpus, source)),
            Err(error) => {
                let mistake = unreadable(&text, &error);
                if !found.mistakes.contains(&mistake) {
                    found.mistakes.push(mistake);
                }
            }
        }
    }
}

fn named(plan: &Plan) -> Vec<Named<'_>> {
    let (calibration, database) = (&plan.calibration, &plan.database);
    let mut named = vec![Named {
        section: "/calibration".to_owned(),
        path: &calibration.source,
        tokens: calibration.tokens,
        read: Box::new(|source| texts::calibration(calibration, source)),
    }];
    let is_apart = database.source != calibration.source
        || database.tokens != calibration.tokens
        || database.sequence_length != calibration.sequence_length;
    if is_apart {
        named.push(Named {
            section: "/database".to_owned(),
            path: &database.source,
            tokens: database.tokens,
            read: Box::new(|source| texts::database(database, source)),
        });
    }
    let sets = plan.evaluation.iter().enumerate();
    named.extend(sets.map(|(idx, set)| Named {
        section: format!("/evaluation/{idx}"),
        path: &set.source,
        tokens: set.tokens,
        read: Box::new(|source| texts::evaluation(set, source, set.tokens)),
    }));
    named
}

fn unreadable(text: &Named<'_>, error: &anyhow::Error) -> Placed {
    let message = sentence(error);
    if error.is::<NoBos>() {
        // The database's sequences begin as the calibration's do.
        let section = text.section.replace("/database", "/calibration");
        return Placed::new(format!("{section}/bos"), message);
    }
    let field = match error.downcast_ref() {
        Some(SourceError::TooLittleText { .. }) => "tokens",
        _ => "source",
    };
    Placed::new(format!("{}/{field}", text.section), message)
}

/// A text that is hardly more than one token again and again.
fn filled(text: &Named<'_>, corpus: &Corpus, source: &Source) -> Option<Placed> {
    let (id, share) = corpus
        .most_frequent()
        .filter(|(_, share)| *share >= FILLED)?;
    let tokenizer = source.tokenizer().ok()?;
    let token = u32::try_from(id)
        .ok()
        .and_then(|id| tokenizer.id_to_token(id));
    let message = format!(
        "{:.0} % of the tokens of {} are one, {id} ({:?}): what is found on it says little about other text",
        (100.0 * share).floor(),
        text.path.display(),
        token.unwrap_or_default()
    );
    Some(Placed::new(format!("{}/source", text.section), message))
}
