//! What a fast search is doing.
//!
//! ```text
//!              likely step              after some steps: promoted, or back
//! Exploring ───────────────▶ Walking ──────────────────────────────────────▶ Exploring
//!     │  nothing found at most evidence                 promoted, or back
//!     └────────────────────────▶ Restarting ──────────────────────────────▶ Exploring
//! any ─── limit, or nothing pays any more ───▶ Stopped
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::position::Incumbent;

/// A phase of the search. The incumbent, the best genotype beyond doubt, is the search's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// The search is at its incumbent.
    Exploring,
    /// The search is ahead of its incumbent by steps that each were only likely to be better.
    Walking {
        /// What it is ahead of.
        incumbent: Incumbent,
        /// Steps since it was left, or last held against where they have led.
        num_steps: u32,
    },
    /// The search has begun again at a genotype that was worse than the incumbent.
    Restarting {
        /// What the result will be held against.
        incumbent: Incumbent,
    },
    /// The search has ended.
    Stopped(StopReason),
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The fitness that was requested is reached.
    Reached,
    /// The tokens are spent.
    Tokens,
    /// The time is up.
    Time,
    /// Neither more evidence nor starting again from disturbed genotypes has found anything better.
    DoesNotPay {
        /// Calibration sequences of the last tests.
        num_sequences: u32,
    },
}

impl Phase {
    /// After a step. `leave` gives the incumbent where this step is the one that leaves it.
    pub(super) fn step(self, is_beyond_doubt: bool, leave: impl FnOnce() -> Incumbent) -> Self {
        match self {
            Self::Exploring if is_beyond_doubt => Self::Exploring,
            Self::Exploring => Self::Walking {
                incumbent: leave(),
                num_steps: 1,
            },
            Self::Walking {
                incumbent,
                num_steps,
            } => Self::Walking {
                incumbent,
                num_steps: num_steps + 1,
            },
            Self::Restarting { .. } | Self::Stopped(_) => self,
        }
    }

    /// After a comparison that was not decided: the search goes on, and more is known of the
    /// incumbent.
    pub(super) fn undecided(self, incumbent: Incumbent) -> Self {
        match self {
            Self::Walking { .. } => Self::Walking {
                incumbent,
                num_steps: 0,
            },
            Self::Restarting { .. } => Self::Restarting { incumbent },
            Self::Exploring | Self::Stopped(_) => self,
        }
    }

    /// What the search will be held against, where it is not at its incumbent.
    pub(super) fn incumbent(&self) -> Option<&Incumbent> {
        match self {
            Self::Walking { incumbent, .. } | Self::Restarting { incumbent } => Some(incumbent),
            Self::Exploring | Self::Stopped(_) => None,
        }
    }

    /// Whether the search is ahead of its incumbent by steps that were likely to be better.
    pub(super) fn is_walking(&self) -> bool {
        matches!(self, Self::Walking { .. })
    }

    /// Whether the search has begun again elsewhere.
    pub(super) fn is_restart(&self) -> bool {
        matches!(self, Self::Restarting { .. })
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached => write!(f, "the fitness that was requested is reached"),
            Self::Tokens => write!(f, "the forward tokens of its limit are spent"),
            Self::Time => write!(f, "the time of its limit is up"),
            Self::DoesNotPay { num_sequences } => write!(
                f,
                "searching on does not pay: paired tests on {num_sequences} sequences found nothing better, from the result and from \
                 disturbed copies of it"
            ),
        }
    }
}
