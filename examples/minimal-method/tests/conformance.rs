//! Builds the library, loads it as evopressd does, and checks it against the rules for methods.

use evopress_plugin::conformance::{Library, MethodCase, MethodSuite, check_method};
use serde_json::json;

#[test]
fn library_conforms() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    let case = |options, targets| MethodCase {
        options,
        targets,
        bad_targets: vec![-1.0, 2.0, 8.0],
    };
    let suite = MethodSuite {
        cases: vec![
            case(json!({}), vec![3.0, 4.5, 7.9]),
            case(json!({"bits": [6, 3]}), vec![3.0, 5.0]),
        ],
        bad_options: vec![
            json!({"bits": [4]}),
            json!({"bits": [3, 4]}),
            json!({"bits": [9, 4]}),
            json!({"bits": "all"}),
        ],
    };
    check_method(&library, &suite).assert_none();
}

#[test]
fn weights_become_multiples_of_their_rows_scale() {
    use evopress_plugin::{CompressTask, Encoding, LayerTask, TensorView, Variant};

    let encoding = Encoding::Quantized {
        bits: 3,
        group_size: 4,
        symmetric: true,
    };
    let variants = [Variant {
        name: "3bit".to_owned(),
        encoding: encoding.clone(),
    }];
    let weights = [-3.0, 1.4, 0.4, 2.6, 0.0, 0.0, 0.0, 0.0];
    let layers = vec![LayerTask {
        name: "l",
        weight: TensorView::from_slice(&weights, &[2, 4]).unwrap(),
        variants: &variants,
    }];
    let task = CompressTask {
        num_tokens: 0,
        input_norms: None,
        hessian: None,
        layers,
    };
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    let packed = library.method(&json!({})).unwrap().compress(&task).unwrap();
    let decoded = evopress_plugin::conformance::decode(&packed[0][0], &encoding, 2, 4).unwrap();
    assert_eq!(decoded, [-3.0, 1.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
}
