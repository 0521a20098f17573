//! How far a search is: what its checkpoint holds after each generation.

use anyhow::Result;
use evopress::search::SearchState;
use evopress::search::fast::FastSearchState;
use evopress_spec::HistoryEntry;
use serde::{Deserialize, Serialize};

use super::held_out::HeldOutRecord;
use crate::checkpoint::Checkpoint;

/// Name of its file in the checkpoint.
const FILE: &str = "search";

/// The search after a generation. Tokens and seconds are those of all attempts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SearchProgress {
    pub(crate) state: SearchState,
    /// Of a fast search only.
    pub(crate) fast: Option<FastSearchState>,
    pub(crate) forward_tokens: u64,
    pub(crate) seconds: f64,
    /// What went into decoding levels: the mean over the compute threads.
    pub(crate) switch_seconds: f64,
    pub(crate) history: Vec<HistoryEntry>,
    pub(crate) held_out: HeldOutRecord,
}

impl SearchProgress {
    /// That of an earlier attempt, if it came to a first parent.
    pub(crate) fn load(checkpoint: &Checkpoint) -> Result<Option<Self>> {
        checkpoint.load(FILE)
    }

    /// Makes it durable.
    pub(super) fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.save(FILE, self)
    }

    /// Whether there is nothing left to do; `generations` is what a paper search has in all.
    pub(super) fn is_over(&self, generations: u32) -> bool {
        match &self.fast {
            Some(fast) => fast.stop_reason().is_some(),
            None => self.state.generation >= generations,
        }
    }

    /// Why a fast search ended, in words.
    pub(crate) fn ended(&self) -> Option<String> {
        let fast = self.fast.as_ref()?;
        fast.stop_reason().map(|reason| reason.to_string())
    }

    /// What the user should know of the search, in sentences. `fitness` is the plugin's name.
    pub(super) fn warnings(&self, fitness: &str) -> Vec<String> {
        let lacks_gradients = self.fast.as_ref().is_some_and(|fast| fast.lacks_gradients);
        let without = lacks_gradients.then(|| {
            format!(
                "fitness `{fitness}` has no usable gradient: the search ran without predictions and \
                 took longer"
            )
        });
        let failures = self.fast.iter().flat_map(FastSearchState::warnings);
        let diverged = self.held_out.divergence();
        without
            .into_iter()
            .chain(failures)
            .chain(diverged)
            .collect()
    }
}
