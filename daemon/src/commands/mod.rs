//! What each command does. Errors that come out of here are the ends of sentences for a person.

mod cache;
mod follow;
mod plugins;
mod publish;
mod run;
mod serve;
mod show;
mod signals;
mod validate;

use std::process::ExitCode;

pub(crate) use cache::cache;
pub(crate) use follow::follow;
pub(crate) use plugins::plugins;
pub(crate) use publish::publish;
pub(crate) use run::run;
pub(crate) use serve::serve;
pub(crate) use validate::validate;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Done,
    /// The run failed, or something on this machine did.
    Failed,
    /// The command line has a mistake.
    Usage,
    /// The model misses a quality gate.
    GateFailed,
    /// The model is finished, and some registry does not have it yet.
    Unpublished,
    /// Interrupted; can be continued.
    Interrupted,
    /// The spec has mistakes.
    BadSpec,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::GateFailed => 3,
            Exit::Unpublished => 4,
            Exit::Interrupted => 75,
            Exit::BadSpec => 78,
        })
    }
}

/// An error of the one who called: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(String);

/// Marks an error as the caller's.
fn usage(error: impl std::fmt::Display) -> anyhow::Error {
    Usage(error.to_string()).into()
}

/// Prints the JSON Schema of a spec.
///
/// # Errors
/// It cannot be printed.
pub(crate) fn schema() -> anyhow::Result<Exit> {
    show::json(&evopress_spec::schema())?;
    Ok(Exit::Done)
}
