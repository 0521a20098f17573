//! Checks that a plugin's author runs in a test, against the library as it was built.
//!
//! ```no_run
//! use evopress_plugin::conformance::{FitnessSuite, Library, check_fitness};
//!
//! #[test]
//! fn conforms() {
//!     let library = Library::build(env!("CARGO_PKG_NAME")).expect("the plugin builds and loads");
//!     check_fitness(&library, &FitnessSuite::default()).assert_none();
//! }
//! ```

mod compress;
mod failing_head;
mod fitness;
mod head;
mod library;
mod method;
mod outline;

use std::fmt;

pub use compress::{Inputs, decode};
pub use fitness::{FitnessSuite, check_fitness};
pub use head::{ReferenceHead, random_values};
pub use library::{BuildError, Library};
pub use method::{MethodCase, MethodSuite, check_method};
pub use outline::{llama_outline, mixture_outline};

/// The rules that a plugin breaks, a sentence each.
#[derive(Debug, Default)]
#[must_use]
pub struct Findings {
    findings: Vec<String>,
}

impl Findings {
    /// The sentences.
    pub fn as_slice(&self) -> &[String] {
        &self.findings
    }

    /// Fails a test unless there are none.
    ///
    /// # Panics
    /// When a rule is broken.
    #[track_caller]
    pub fn assert_none(&self) {
        assert!(
            self.findings.is_empty(),
            "the plugin does not conform:\n{self}"
        );
    }

    fn add(&mut self, finding: impl Into<String>) {
        self.findings.push(finding.into());
    }

    fn require(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.add(finding());
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings
            .iter()
            .try_for_each(|finding| writeln!(f, "- {finding}"))
    }
}
