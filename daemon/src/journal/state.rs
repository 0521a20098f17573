//! The states of a run.

use std::fmt;
use std::str::FromStr;

/// The state of a run. Stored in the journal, counted on `/metrics`, shown on the page: one set of
/// words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunState {
    /// Waits for a free slot.
    Queued,
    /// A worker runs it, or will again after a pause.
    Running,
    /// The model is finished and being copied to its registries.
    Publishing,
    /// Finished; published, or about to be where a registry could not be reached: the reason says
    /// so.
    Done,
    /// Finished, and its quality was not good enough: not published.
    GateFailed,
    /// Given up; the reason says why.
    Failed,
    /// Stopped with a checkpoint; a daemon queues it again when it starts.
    Interrupted,
    /// The spec has mistakes; nothing ran.
    Rejected,
}

impl RunState {
    /// All states, in the order of a run's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Publishing,
        Self::Done,
        Self::GateFailed,
        Self::Failed,
        Self::Interrupted,
        Self::Rejected,
    ];

    /// Its name in the journal, in metrics and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Publishing => "publishing",
            Self::Done => "done",
            Self::GateFailed => "gate_failed",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Rejected => "rejected",
        }
    }

    /// Whether nothing more will happen to the run.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Done | Self::GateFailed | Self::Failed | Self::Rejected
        )
    }

    /// Whether a run may go from here to `next`. A final state is left only to be queued again, on
    /// request.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use RunState::{
            Done, Failed, GateFailed, Interrupted, Publishing, Queued, Rejected, Running,
        };
        match self {
            Queued => matches!(next, Running | Failed | Interrupted),
            Running => matches!(
                next,
                Running | Publishing | GateFailed | Failed | Interrupted | Queued
            ),
            Publishing => matches!(next, Done | Failed | Interrupted | Publishing | Queued),
            Interrupted => matches!(next, Queued | Publishing),
            Done | GateFailed | Failed => matches!(next, Queued),
            Rejected => false,
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a run's state"))
    }
}

/// Who requested a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file in the watched folder; a daemon takes it up again when it starts.
    Watch,
    /// `evopressd run`; only the next such command takes it up again.
    Command,
}

impl Origin {
    /// Its name in the journal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Command => "command",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse::<RunState>(), Ok(state));
        }
        assert!("sleeping".parse::<RunState>().is_err());
    }

    #[test]
    fn final_states_are_left_only_for_the_queue() {
        for from in RunState::ALL.into_iter().filter(|state| state.is_final()) {
            for to in RunState::ALL {
                assert_eq!(
                    from.may_become(to),
                    to == RunState::Queued && from != RunState::Rejected
                );
            }
        }
    }
}
