//! What a fast search carries from one generation to the next beside its state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::LEAST_EVIDENCE;
use super::propose::MOST_EXCHANGES;
use super::race::Difference;
use super::sinks::Sinks;
use super::surrogate::Observation;
use crate::genotype::Genotype;

/// Observations that are kept; older ones say little about where the search is now.
const MOST_OBSERVATIONS: usize = 300;

/// The memory of a fast search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The genotype that offspring are made from: the champion, or where a restart has led so far.
    pub(super) current: Genotype,
    /// Its loss by calibration sequence, where it was measured.
    pub(super) losses: BTreeMap<usize, f64>,
    /// Genotypes that did not beat it, each with the mean of its losses' differences.
    pub(super) rejected: Vec<(Genotype, f64)>,
    /// Where the gradients in use were taken.
    pub(super) origin: Option<Origin>,
    /// Gradient passes so far.
    pub(super) num_passes: u32,
    /// What they have shown of the first token of sequences.
    #[serde(default)]
    pub(super) sinks: Sinks,
    /// Sequences that a decision takes.
    pub(super) evidence: usize,
    /// Exchanges that an offspring may be made of at most.
    pub(super) reach: usize,
    /// Generations in which everyone was plainly worse, since the last success or the last growth of the evidence.
    pub(super) failures: u32,
    /// Generations without success at most evidence.
    pub(super) fruitless: u32,
    /// While the search is ahead of the best genotype beyond doubt, or has started again elsewhere.
    pub(super) champion: Option<Champion>,
    /// Steps since the champion was left or held against where they have led.
    pub(super) steps: u32,
    /// Where restarts have begun.
    pub(super) visited: Vec<Genotype>,
    /// Restarts in a row that led nowhere.
    pub(super) fruitless_restarts: u32,
    /// What evaluations have shown.
    pub(super) observations: Vec<Observation>,
    /// Whether gradients were asked for and there were none.
    pub lacks_gradients: bool,
    /// Tokens that the search has taken, gradient passes at what they cost.
    pub forward_tokens: u64,
    /// Why the search has ended, once it has.
    pub stop: Option<Stop>,
}

/// The best genotype beyond doubt, and what was known around it when the search left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Champion {
    pub(super) genotype: Genotype,
    pub(super) losses: BTreeMap<usize, f64>,
    pub(super) rejected: Vec<(Genotype, f64)>,
    pub(super) evidence: usize,
    /// Whether the search left it for a genotype that was worse.
    pub(super) is_restart: bool,
}

/// A genotype whose gradients are in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) genotype: Genotype,
    /// The passes that were made there.
    pub(super) passes: Vec<Pass>,
}

/// A gradient pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pass {
    /// Draws its sequences.
    pub(super) number: u32,
    /// Samples where levels are at stake.
    pub(super) num_samples: usize,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The fitness that was asked for is reached.
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

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::Reached => write!(f, "the fitness that was asked for is reached"),
            Stop::Tokens => write!(f, "the forward tokens of its limit are spent"),
            Stop::Time => write!(f, "the time of its limit is up"),
            Stop::DoesNotPay { num_sequences } => write!(
                f,
                "searching on does not pay: paired tests on {num_sequences} sequences found nothing better, from the result and from \
                 disturbed copies of it"
            ),
        }
    }
}

impl Memory {
    /// Of a search that begins at `current`, whose losses on some sequences are known.
    pub(super) fn new(current: Genotype, losses: BTreeMap<usize, f64>) -> Self {
        Self {
            current,
            losses,
            rejected: Vec::new(),
            origin: None,
            num_passes: 0,
            sinks: Sinks::default(),
            evidence: LEAST_EVIDENCE,
            reach: MOST_EXCHANGES,
            failures: 0,
            fruitless: 0,
            champion: None,
            steps: 0,
            visited: Vec::new(),
            fruitless_restarts: 0,
            observations: Vec::new(),
            lacks_gradients: false,
            forward_tokens: 0,
            stop: None,
        }
    }

    /// The mean loss of the current genotype over all sequences that it was measured on.
    pub(super) fn fitness(&self) -> f64 {
        self.losses.values().sum::<f64>() / self.losses.len().max(1) as f64
    }

    /// A genotype takes the current one's place.
    pub(super) fn accept(&mut self, genotype: Genotype, losses: BTreeMap<usize, f64>) {
        let changed = self.current.0.iter().zip(&genotype.0);
        let num_changed = changed.filter(|(before, after)| before != after).count();
        // An exchange changes two units; what has worked may be tried at twice the size.
        self.reach = num_changed.clamp(1, MOST_EXCHANGES);
        self.current = genotype;
        self.losses = losses;
        self.rejected.clear();
        self.failures = 0;
        self.fruitless = 0;
    }

    /// Genotypes that were no better.
    pub(super) fn reject(&mut self, genotypes: &[Genotype], results: &[Difference]) {
        let means = results.iter().map(|result| result.mean);
        self.rejected.extend(genotypes.iter().cloned().zip(means));
    }

    /// Whether a genotype was no better than the current one.
    pub(super) fn is_rejected(&self, genotype: &Genotype) -> bool {
        self.rejected
            .iter()
            .any(|(rejected, _)| rejected == genotype)
    }

    /// The least bad of the genotypes that were no better and that no restart has begun at.
    pub(super) fn next_best(&self) -> Option<Genotype> {
        let fresh = |(genotype, _): &&(Genotype, f64)| !self.visited.contains(genotype);
        let rejected = self.rejected.iter().filter(fresh);
        let best = rejected.min_by(|a, b| a.1.total_cmp(&b.1));
        best.map(|(genotype, _)| genotype.clone())
    }

    /// Whether the search is ahead of its champion by steps that seemed to be better.
    pub(super) fn is_walking(&self) -> bool {
        let champion = self.champion.as_ref();
        champion.is_some_and(|champion| !champion.is_restart)
    }

    /// The current genotype becomes the champion that the search leaves.
    pub(super) fn leave_champion(&mut self, is_restart: bool) {
        self.champion = Some(Champion {
            genotype: self.current.clone(),
            losses: std::mem::take(&mut self.losses),
            rejected: std::mem::take(&mut self.rejected),
            evidence: self.evidence,
            is_restart,
        });
        self.steps = 0;
    }

    /// The search goes on from `genotype`, and will be held against the current one.
    pub(super) fn begin_restart(&mut self, genotype: Genotype) {
        self.leave_champion(true);
        self.visited.push(genotype.clone());
        self.accept(genotype, BTreeMap::new());
        self.evidence = LEAST_EVIDENCE;
        self.reach = MOST_EXCHANGES;
        self.origin = None;
    }

    /// Back to the champion.
    pub(super) fn return_to(&mut self, champion: Champion) {
        self.accept(champion.genotype, champion.losses);
        self.rejected = champion.rejected;
        self.evidence = champion.evidence;
        self.origin = None;
    }

    /// What a race has shown; the oldest is forgotten.
    pub(super) fn observe(&mut self, seen: Vec<Observation>) {
        self.observations.extend(seen);
        let excess = self.observations.len().saturating_sub(MOST_OBSERVATIONS);
        self.observations.drain(..excess);
    }
}
