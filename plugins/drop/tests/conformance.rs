//! The library as it was built, against the rules for methods.

use evopress_plugin::conformance::{Library, MethodCase, MethodSuite, check_method};
use serde_json::json;

#[test]
fn library_conforms() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    assert_eq!(library.info().name, "drop");
    let case = |options| MethodCase {
        options,
        targets: vec![0.1, 0.125, 0.25, 1.0 / 3.0, 0.5, 0.75, 0.95],
        bad_targets: vec![-0.25, 0.0, 0.01, 1.0, 2.0, f64::INFINITY],
    };
    let suite = MethodSuite {
        cases: vec![
            case(json!({})),
            case(json!({"granularity": "sub-block"})),
            case(json!({"granularity": "block"})),
            case(json!({"granularity": "free"})),
        ],
        bad_options: vec![
            json!({"granularity": "layer"}),
            json!({"granularity": 1}),
            json!("sub-block"),
            json!([]),
        ],
    };
    check_method(&library, &suite).assert_none();
}
