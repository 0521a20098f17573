//! The library as it was built, against the rules for methods.

use evopress_plugin::conformance::{Library, MethodCase, MethodSuite, check_method};
use serde_json::json;

#[test]
fn library_conforms() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    assert_eq!(library.info().name, "magnitude");
    let case = |options, targets| MethodCase {
        options,
        targets,
        bad_targets: vec![-0.5, 0.0, 1.0, 2.0, f64::INFINITY],
    };
    let suite = MethodSuite {
        cases: vec![
            // Levels around each of the targets.
            case(json!({}), vec![0.3, 0.5]),
            case(
                json!({"around": 0.5, "num_steps": 2, "step_weights": 600}),
                vec![0.45, 0.5, 0.55],
            ),
            case(json!({"sparsities": [0.1, 0.5, 0.75]}), vec![0.2, 0.5, 0.7]),
            case(
                json!({"patterns": ["2:4", "2:8", "6:8"]}),
                vec![0.3, 0.5, 0.75],
            ),
        ],
        bad_options: vec![
            json!({"sparsities": [0.5]}),
            json!({"sparsities": [0.5, 0.5]}),
            json!({"sparsities": [0.5, 1.0]}),
            json!({"sparsities": [-0.5, 0.5]}),
            json!({"sparsities": [0.25, 0.5], "patterns": ["2:4", "2:8"]}),
            json!({"patterns": ["2:4"]}),
            json!({"patterns": ["4:2", "2:4"]}),
            json!({"patterns": ["2", "2:4"]}),
            json!({"around": 1}),
            json!({"num_steps": 0}),
            json!({"step_weights": 0}),
            json!([]),
        ],
    };
    check_method(&library, &suite).assert_none();
}
