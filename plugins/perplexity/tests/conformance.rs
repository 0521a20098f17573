//! The library as it was built, against the rules for fitnesses.

use evopress_plugin::conformance::{FitnessSuite, Library, check_fitness};

#[test]
fn library_conforms() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    assert_eq!(library.info().name, "perplexity");
    check_fitness(&library, &FitnessSuite::default()).assert_none();
}
