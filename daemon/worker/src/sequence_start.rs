//! How the sequences of a plan's texts begin: with the model's BOS token or without.

use evopress::source::BosRule;
use evopress_spec::{Bos, Plan, SequenceStart};

/// A spec asks for a token that the model has not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("found always, but the model has no BOS token: expected auto or never")]
pub(crate) struct NoBos;

/// The token that sequences begin with, by what the spec wants and what the model's runtimes do.
pub(crate) fn token(wanted: Bos, rule: &BosRule) -> Result<Option<u32>, NoBos> {
    match wanted {
        Bos::Auto => Ok(rule.prepended()),
        Bos::Always => rule.token.map(Some).ok_or(NoBos),
        Bos::Never => Ok(None),
    }
}

/// What the report says of the plan's texts: the calibration first, then the held-out sets.
pub(crate) fn of_plan(plan: &Plan, rule: &BosRule) -> Vec<SequenceStart> {
    let calibration = (
        "calibration".to_owned(),
        plan.calibration.bos,
        "calibration.bos".to_owned(),
    );
    let sets = plan.evaluation.iter().enumerate();
    let sets = sets.map(|(idx, set)| (set.name.clone(), set.bos, format!("evaluation[{idx}].bos")));
    let texts = [calibration].into_iter().chain(sets);
    let described = texts.map(|(text, wanted, field)| SequenceStart {
        text,
        bos: token(wanted, rule).is_ok_and(|token| token.is_some()),
        said_by: match wanted {
            Bos::Auto => rule.said_by.clone(),
            Bos::Always | Bos::Never => field,
        },
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_may_want_otherwise_than_the_model() {
        let rule = |token, is_prepended| BosRule {
            token,
            is_prepended,
            said_by: "tokenizer.json".to_owned(),
        };
        let given = rule(Some(2), true);
        assert_eq!(token(Bos::Auto, &given), Ok(Some(2)));
        assert_eq!(token(Bos::Never, &given), Ok(None));
        let left_out = rule(Some(2), false);
        assert_eq!(token(Bos::Auto, &left_out), Ok(None));
        assert_eq!(token(Bos::Always, &left_out), Ok(Some(2)));
        let absent = rule(None, false);
        assert_eq!(token(Bos::Auto, &absent), Ok(None));
        assert_eq!(token(Bos::Always, &absent), Err(NoBos));
    }
}
