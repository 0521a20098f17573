//! The weights, scanned for what is no number.

use std::time::{Duration, Instant};

use evopress::source::{NUMBERS_CHECK, Source};
use evopress_cache::Cache;

use super::Preflight;
use super::placed::Placed;

/// A check of a spec has this long for the weights: it is to answer, whatever disk they lie on.
const OF_A_CHECK: Duration = Duration::from_secs(120);

/// How the weights are scanned.
#[derive(Clone, Copy)]
pub(crate) struct WeightScan<'a> {
    /// Remembers what has passed.
    cache: Option<&'a Cache>,
    /// When it ends; none where all must be seen.
    until: Option<Instant>,
}

impl<'a> WeightScan<'a> {
    /// As a check of a spec does.
    pub(crate) fn for_a_while(cache: Option<&'a Cache>) -> Self {
        Self {
            cache,
            until: Some(Instant::now() + OF_A_CHECK),
        }
    }

    /// As a run does.
    pub(crate) fn to_the_end(cache: &'a Cache) -> Self {
        Self {
            cache: Some(cache),
            until: None,
        }
    }

    /// Scans a model's weights, unless the cache knows that they have passed.
    pub(super) fn examine(self, at: &str, source: &Source, found: &mut Preflight) {
        let check = || source.check_numbers(self.until);
        let checked = match self.cache {
            Some(cache) => cache
                .checks()
                .once(NUMBERS_CHECK, &source.digest_files(), check),
            None => check(),
        };
        match checked {
            Ok(true) => {}
            Ok(false) => {
                let seconds = OF_A_CHECK.as_secs();
                let message = format!(
                    "not all weights could be scanned for NaN within {seconds} s: a run does so first"
                );
                found.warnings.push(Placed::new(at, message));
            }
            Err(error) => found.mistakes.push(Placed::new(at, error.to_string())),
        }
    }
}
