//! The mean of paired differences of losses, and what its standard error lets one say.

/// The mean difference of a challenger's losses from the parent's, sequence by sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Difference {
    /// Below 0 where the challenger is better, in the loss's unit.
    pub(in super::super) mean: f64,
    /// Of the mean.
    pub(in super::super) standard_error: f64,
    /// Sequences.
    pub(super) count: usize,
}

impl Difference {
    /// Of some paired differences; `floor` is the least that their standard deviation is taken to
    /// be.
    pub(super) fn of(differences: &[f64], floor: f64) -> Self {
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt().max(floor);
        Self {
            mean,
            standard_error: deviation / count.sqrt(),
            count: differences.len(),
        }
    }

    /// Whether it is below 0 by so many standard errors.
    pub(super) fn is_below_by(&self, errors: f64) -> bool {
        self.mean + errors * self.standard_error < 0.0
    }

    /// Whether it is below 0 by so many standard errors, or as many more as make up for a spread
    /// that is known from few sequences (quantiles of Student's t by their first-order expansion).
    /// A rule of thumb for steps, not a test.
    pub(super) fn is_likely_below_by(&self, errors: f64) -> bool {
        let freedom = (self.count as f64 - 1.0).max(1.0);
        self.is_below_by(errors + (errors.powi(3) + errors) / (4.0 * freedom))
    }

    /// Whether it may be below 0 by a part of `errors` standard errors after `times` as many
    /// sequences.
    pub(super) fn is_promising(&self, times: f64, errors: f64) -> bool {
        self.mean * times.sqrt() + errors * self.standard_error < 0.0
    }

    /// Whether it is above 0 by so many standard errors.
    pub(super) fn is_above_by(&self, errors: f64) -> bool {
        self.mean > errors * self.standard_error
    }
}
