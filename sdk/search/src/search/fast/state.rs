//! What a fast search carries from one generation to the next, beside its
//! [`crate::search::SearchState`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gradients::Gradients;
use super::observation::Observation;
use super::phase::{Phase, StopReason};
use super::position::Position;
use super::trouble::Trouble;
use super::tuning::Tuning;
use crate::genotype::Genotype;

/// The state of a fast search after a generation. Opaque but for what a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FastSearchState {
    pub(super) phase: Phase,
    pub(super) position: Position,
    pub(super) gradients: Gradients,
    /// What races have shown.
    pub(super) observations: Vec<Observation>,
    /// Where restarts have begun.
    pub(super) visited: Vec<Genotype>,
    /// Restarts in a row that led nowhere.
    pub(super) fruitless_restarts: u32,
    pub(super) trouble: Trouble,
    /// Whether gradients were requested and there were none.
    pub lacks_gradients: bool,
    /// Tokens that the search has taken, gradient passes at what they cost.
    pub forward_tokens: u64,
}

impl FastSearchState {
    /// Of a search that begins at a genotype whose losses on some sequences are known.
    pub(super) fn new(genotype: Genotype, losses: BTreeMap<usize, f64>, tuning: &Tuning) -> Self {
        let evidence = tuning.evidence.min_sequences;
        let reach = tuning.proposals.max_exchanges;
        Self {
            phase: Phase::Exploring,
            position: Position::new(genotype, losses, evidence, reach),
            gradients: Gradients::default(),
            observations: Vec::new(),
            visited: Vec::new(),
            fruitless_restarts: 0,
            trouble: Trouble::default(),
            lacks_gradients: false,
            forward_tokens: 0,
        }
    }

    /// Why the search has ended, once it has.
    pub fn stop_reason(&self) -> Option<StopReason> {
        match self.phase {
            Phase::Stopped(reason) => Some(reason),
            _ => None,
        }
    }

    /// Sentences about numerical failures that switched a part of the search off, for the report.
    pub fn warnings(&self) -> Vec<String> {
        self.trouble.sentences()
    }

    /// Remembers what a race has shown; the oldest observations are forgotten.
    pub(super) fn observe(&mut self, seen: Vec<Observation>, max_observations: usize) {
        self.observations.extend(seen);
        let excess = self.observations.len().saturating_sub(max_observations);
        self.observations.drain(..excess);
    }

    /// Goes on from a challenger that is better, or likely to be.
    pub(super) fn step(
        mut self,
        genotype: Genotype,
        losses: BTreeMap<usize, f64>,
        is_beyond_doubt: bool,
        max_exchanges: usize,
    ) -> Self {
        let position = &self.position;
        self.phase = self
            .phase
            .step(is_beyond_doubt, || position.clone().into_incumbent());
        self.position.move_to(genotype, losses, max_exchanges);
        self
    }

    /// Begins again at a genotype, to be held against the one at the present position.
    pub(super) fn restart(mut self, genotype: Genotype, tuning: &Tuning) -> Self {
        let elsewhere = Position::new(
            genotype.clone(),
            BTreeMap::new(),
            tuning.evidence.min_sequences,
            tuning.proposals.max_exchanges,
        );
        let incumbent = std::mem::replace(&mut self.position, elsewhere).into_incumbent();
        self.phase = Phase::Restarting { incumbent };
        self.visited.push(genotype);
        self.gradients.origin = None;
        self
    }
}
