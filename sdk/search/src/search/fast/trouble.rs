//! Numerical failures that switched something off, for the report.

use serde::{Deserialize, Serialize};

/// How often what failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trouble {
    /// Generations whose regression could not be solved.
    pub(super) unsolved_regressions: u32,
    /// Gradient passes whose numbers were not finite.
    pub(super) lost_passes: u32,
}

impl Trouble {
    /// A sentence for each kind of failure that occurred.
    pub(super) fn sentences(self) -> Vec<String> {
        let Self {
            unsolved_regressions,
            lost_passes,
        } = self;
        let mut sentences = Vec::new();
        if unsolved_regressions > 0 {
            sentences.push(format!(
                "the search could not learn from its evaluations in {unsolved_regressions} generations: the covariance of the \
                 observations was not positive definite, and offspring were proposed from predictions alone"
            ));
        }
        if lost_passes > 0 {
            sentences.push(format!(
                "{lost_passes} gradient passes of the search were left out, because their numbers were infinite or not numbers"
            ));
        }
        sentences
    }
}
