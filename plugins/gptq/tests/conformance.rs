//! The library as it was built, against the rules for methods.

use evopress_plugin::conformance::{Library, MethodCase, MethodSuite, check_method};
use serde_json::json;

#[test]
fn library_conforms() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    assert_eq!(library.info().name, "gptq");
    let case = |options| MethodCase {
        options,
        targets: vec![2.0, 2.25, 3.0, 3.5, 3.999],
        bad_targets: vec![-3.0, 0.0, 1.99, 8.0, f64::INFINITY],
    };
    let suite = MethodSuite {
        cases: vec![
            case(json!({"group_size": 32})),
            case(json!({"group_size": "row", "bits": [2, 4]})),
            case(json!({"group_size": 16, "activation_order": true, "damping": 0.1})),
            case(
                json!({"group_size": 8, "bits": [8, 5, 2], "symmetric": true, "calibration_bits": 5}),
            ),
        ],
        bad_options: vec![
            json!({"bits": [4]}),
            json!({"bits": []}),
            json!({"bits": [4, 4]}),
            json!({"bits": [4, 9]}),
            json!({"bits": 4}),
            json!({"group_size": 0}),
            json!({"group_size": "column"}),
            json!({"calibration_bits": 8}),
            json!({"damping": -0.01}),
            json!([]),
        ],
    };
    check_method(&library, &suite).assert_none();
}
