//! The fast search: gradients and past evaluations propose, fitness decides.
//!
//! The paper's search draws mutations blindly and pays a full evaluation for each. Here one
//! gradient pass predicts what every single level change would do ([`crate::prediction`]), a
//! Bayesian linear regression corrects the predictions by what evaluations have shown
//! ([`regression`]), sets of exchanges that keep the budget and promise most are proposed
//! ([`propose`]), and they race sequence by sequence against the genotype that they were made from
//! ([`race`]). Where one seems to be better the search walks on from it: what several small steps
//! have gained together can be told from noise on far fewer sequences than each of them. The
//! incumbent, which is the answer, is replaced only by a challenger that passes a sequential test
//! at a level that holds over its whole race ([`race`]). The evidence of a race grows when nothing
//! was found, and where it cannot grow any more the search starts again elsewhere or ends, and says
//! why ([`phase`]).
//!
//! A [`super::SearchState`] and a [`FastSearchState`] after each generation are all that a resumed
//! search needs.

mod curvature;
mod fast_search;
mod generation;
mod gradients;
mod observation;
mod phase;
mod position;
mod propose;
mod race;
mod regression;
mod renew;
mod run;
mod settings;
mod sinks;
mod start;
mod state;
mod surrogate;
mod trouble;
mod tuning;
mod walk;

pub use phase::StopReason;
pub use run::run;
pub use settings::{Limit, Settings, Without};
pub use start::start;
pub use state::FastSearchState;
pub use tuning::{
    EvidenceTuning, GradientTuning, Prior, ProposalTuning, RaceTuning, RegressionTuning, Tuning,
};

#[cfg(test)]
mod tests;
