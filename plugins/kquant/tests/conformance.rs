//! The library as it was built, against the rules for methods.

use evopress_plugin::conformance::{Library, MethodCase, MethodSuite, check_method};
use serde_json::json;

#[test]
fn library_conforms() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    assert_eq!(library.info().name, "kquant");
    let case = |options, targets| MethodCase {
        options,
        targets,
        bad_targets: vec![-1.0, 0.0, 2.0, 16.0, f64::INFINITY],
    };
    let suite = MethodSuite {
        cases: vec![
            // The outline's layers are 64 and 160 wide: blocks of 32.
            case(json!({}), vec![4.5, 5.0, 6.0]),
            case(
                json!({"types": ["Q4_0", "Q8_0"], "importance": "none", "damping": 0.1}),
                vec![5.0, 8.0],
            ),
            case(json!({"error_feedback": false}), vec![4.5, 5.0, 6.0]),
            case(
                json!({"types": ["Q4_0", "Q8_0"], "error_feedback": false, "importance": "none"}),
                vec![5.0, 8.0],
            ),
            case(
                json!({"fallback": ["Q4_1", "Q5_1", "Q8_0"], "calibration_type": "Q5_1"}),
                vec![5.0, 7.0],
            ),
        ],
        bad_options: vec![
            json!({"types": ["Q4_0"]}),
            json!({"types": ["Q4_0", "Q4_0"]}),
            json!({"types": ["Q4_0", "q8_0"]}),
            json!({"types": ["Q2_K", "Q4_K"], "fallback": ["Q4_K", "Q8_0"]}),
            json!({"importance": "some"}),
            json!({"importance": "residual", "error_feedback": false}),
            json!({"damping": -0.01}),
            json!({"calibration_type": "Q9_0"}),
            json!([]),
        ],
    };
    check_method(&library, &suite).assert_none();
}
