//! The test that a challenger must pass to replace the incumbent, at a level that holds over its
//! whole race.
//!
//! A race looks at the same growing set of paired differences again and again, and at the best of
//! several challengers. Each look at each challenger is a one-sided Student t-test of "no better
//! than the incumbent". The level is spent over the looks in proportion to the sequences that came
//! since the look before (a linear spending function, Lan and DeMets 1983) and divided among the
//! challengers that began the race. By the union bound the probability that a race of challengers,
//! none of which is better, is won is at most the level, whatever leaves the race early and however
//! challengers' losses hang together. What is assumed is that differences of sequences are
//! independent and roughly normal.
//!
//! Looks at 4, 8, 16, … sequences and at the race's end: more would cost more level than they save
//! sequences.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Sequences of the first look: a spread known from fewer asks for differences that hardly occur.
const FIRST_LOOK: usize = 4;

/// When to look, and what to ask for there.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct SequentialTest {
    /// Of one challenger's test over the whole race.
    level: f64,
    /// Sequences of the race at most.
    longest: usize,
}

impl SequentialTest {
    /// For a race of `num_challengers` over at most `longest` sequences that is won by chance with
    /// a probability of at most `level`.
    pub(in super::super) fn new(level: f64, num_challengers: usize, longest: usize) -> Self {
        Self {
            level: level / num_challengers.max(1) as f64,
            longest,
        }
    }

    /// Standard errors by which a challenger must be better after `count` sequences; none where the
    /// race does not look. `is_last` where the race ends here for a reason that has nothing to do
    /// with its losses: all of the level that is left is spent.
    pub(super) fn critical(&self, count: usize, is_last: bool) -> Option<f64> {
        let is_last = is_last || count >= self.longest;
        let is_scheduled = count >= FIRST_LOOK && count.is_power_of_two();
        if count < 2 || !(is_last || is_scheduled) {
            return None;
        }
        let mut before = FIRST_LOOK;
        while 2 * before < count {
            before *= 2;
        }
        let before = if before < count { before } else { 0 };
        let until = if is_last { self.longest } else { count };
        let spent = self.level * (until - before) as f64 / self.longest as f64;
        let t = StudentsT::new(0.0, 1.0, (count - 1) as f64)
            .expect("two or more sequences leave a degree of freedom");
        Some(-t.inverse_cdf(spent))
    }

    /// What the last look will ask for.
    pub(super) fn critical_at_end(&self) -> f64 {
        self.critical(self.longest, true).unwrap_or(f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_spent_in_proportion_to_sequences() {
        let test = SequentialTest::new(0.01, 1, 64);
        let check = |count, is_last, expected: Option<f64>| {
            let found = test.critical(count, is_last);
            match (found, expected) {
                (Some(found), Some(expected)) => {
                    assert!((found - expected).abs() < 0.001, "{count}: {found}")
                }
                (found, expected) => assert_eq!(found, expected, "{count}"),
            }
        };
        // Upper quantiles of Student's t, by numerical integration of its density: 0.005 at 63
        // degrees of freedom, 0.0025 at 31, 0.00125 at 15.
        check(64, false, Some(2.6561));
        check(32, false, Some(3.0221));
        check(16, false, Some(3.6239));
        check(33, false, None);
        check(3, false, None);
        // All that the looks at 4, 8, 16 and 32 have left: 0.005 at 39 degrees of freedom.
        check(40, true, Some(2.7079));
        let shared = SequentialTest::new(0.01, 8, 64);
        assert!(shared.critical_at_end() > test.critical_at_end() + 0.5);
    }

    #[test]
    fn no_more_than_the_level_is_spent() {
        for longest in [2, 3, 4, 5, 8, 13, 16, 24, 64] {
            for end in 2..=longest {
                let test = SequentialTest::new(0.01, 3, longest);
                let looks = (2..=end).filter_map(|count| {
                    let critical = test.critical(count, count == end)?;
                    let t = StudentsT::new(0.0, 1.0, (count - 1) as f64).unwrap();
                    Some(t.cdf(-critical))
                });
                let spent: f64 = looks.sum();
                assert!(
                    spent < 0.01 / 3.0 * (1.0 + 1e-6),
                    "{longest} {end}: {spent}"
                );
            }
        }
    }
}
