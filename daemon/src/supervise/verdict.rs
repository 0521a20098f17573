//! What follows from the end of an attempt. Only a crash is worth another attempt: a worker that
//! ends by itself has said why, and would say the same again.

use std::path::PathBuf;

use evopress_spec::Stage;

use crate::worker_process::End;

/// How an attempt went.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) end: AttemptEnd,
    /// The stage that the worker was in.
    pub(super) stage: Option<Stage>,
    /// The reason that it gave.
    pub(super) said: Option<String>,
    /// The state folder, where its disk was full at the end.
    pub(super) full_disk: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(super) enum AttemptEnd {
    /// The worker ended.
    Ended(End),
    /// The attempt did not begin; the reason.
    NotStarted(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    GateFailed,
    Interrupted(String),
    Failed(String),
    Again(String),
}

impl Verdict {
    pub(super) fn as_label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::GateFailed => "gate_failed",
            Self::Interrupted(_) => "interrupted",
            Self::Failed(_) => "failed",
            Self::Again(_) => "crashed",
        }
    }
}

/// `stopping`: we have asked the worker to stop, so that its end is what we wanted, however it
/// came.
pub(super) fn judge(outcome: &Outcome, attempt: u32, attempts: u32, stopping: bool) -> Verdict {
    let stage = outcome
        .stage
        .map_or_else(String::new, |stage| format!(" in stage {stage}"));
    let full = outcome
        .full_disk
        .as_ref()
        .map_or_else(String::new, |state| {
            format!("; the disk that holds {} is full", state.display())
        });
    let crash = match &outcome.end {
        AttemptEnd::Ended(End::Done) => return Verdict::Done,
        AttemptEnd::Ended(End::GateFailed) => return Verdict::GateFailed,
        AttemptEnd::Ended(End::Failed) => {
            let unsaid = || {
                format!(
                    "the worker ended with exit code 1{stage} and gave no reason{full}; see worker.log"
                )
            };
            return Verdict::Failed(outcome.said.clone().unwrap_or_else(unsaid));
        }
        AttemptEnd::Ended(end) if stopping => {
            return Verdict::Interrupted(format!("the daemon stopped; the worker {end}"));
        }
        AttemptEnd::NotStarted(why) if stopping => {
            return Verdict::Interrupted(format!("the daemon stopped; {why}"));
        }
        AttemptEnd::Ended(End::Interrupted) => "the worker was stopped by someone else".to_owned(),
        AttemptEnd::Ended(end) => format!("the worker {end}"),
        AttemptEnd::NotStarted(why) => why.clone(),
    };
    let reason = format!("{crash}{stage}, attempt {attempt} of {attempts}{full}; see worker.log");
    if attempt < attempts {
        Verdict::Again(reason)
    } else {
        Verdict::Failed(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(end: End) -> Outcome {
        Outcome {
            end: AttemptEnd::Ended(end),
            stage: Some(Stage::Search),
            said: None,
            full_disk: None,
        }
    }

    #[test]
    fn a_worker_that_could_not_write_why_it_ended_is_explained_by_the_full_disk() {
        let mut outcome = ended(End::Failed);
        outcome.full_disk = Some("/var/lib/evopressd".into());
        let reason = |outcome: &Outcome, attempt| match judge(outcome, attempt, 3, false) {
            Verdict::Failed(reason) | Verdict::Again(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            reason(&outcome, 1),
            "the worker ended with exit code 1 in stage search and gave no reason; the disk that holds /var/lib/evopressd is \
             full; see worker.log"
        );
        outcome.said = Some("cannot write layer-3: the disk is full".to_owned());
        assert_eq!(
            reason(&outcome, 1),
            "cannot write layer-3: the disk is full"
        );
        outcome.end = AttemptEnd::Ended(End::Signal(7));
        assert!(reason(&outcome, 1).contains("attempt 1 of 3; the disk that holds"));
    }

    #[test]
    fn only_crashes_are_tried_again() {
        let check = |end: End, attempt: u32, expected: Verdict| {
            assert_eq!(judge(&ended(end), attempt, 3, false), expected)
        };
        let again = |text: &str| Verdict::Again(text.to_owned());
        check(End::Done, 1, Verdict::Done);
        check(End::GateFailed, 1, Verdict::GateFailed);
        check(
            End::Failed,
            1,
            Verdict::Failed("the worker ended with exit code 1 in stage search and gave no reason; see worker.log".into()),
        );
        check(
            End::Signal(11),
            1,
            again(
                "the worker was killed by signal 11 (SIGSEGV) in stage search, attempt 1 of 3; see worker.log",
            ),
        );
        check(
            End::Code(134),
            2,
            again(
                "the worker ended with exit code 134 in stage search, attempt 2 of 3; see worker.log",
            ),
        );
        check(
            End::Interrupted,
            1,
            again(
                "the worker was stopped by someone else in stage search, attempt 1 of 3; see worker.log",
            ),
        );
        check(
            End::Signal(11),
            3,
            Verdict::Failed(
                "the worker was killed by signal 11 (SIGSEGV) in stage search, attempt 3 of 3; see worker.log".into(),
            ),
        );
    }

    #[test]
    fn what_we_stopped_is_interrupted_however_it_ended_but_a_finished_run_is_finished() {
        for end in [
            End::Interrupted,
            End::Signal(9),
            End::Signal(15),
            End::Code(2),
        ] {
            assert!(matches!(
                judge(&ended(end), 3, 3, true),
                Verdict::Interrupted(_)
            ));
        }
        assert_eq!(judge(&ended(End::Done), 1, 3, true), Verdict::Done);
        let mut refused = ended(End::Failed);
        refused.said = Some("the model is truncated".to_owned());
        assert_eq!(
            judge(&refused, 1, 3, true),
            Verdict::Failed("the model is truncated".to_owned())
        );
    }
}
