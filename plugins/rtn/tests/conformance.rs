//! The library as it was built, against the rules for methods.

use evopress_plugin::{
    Edit,
    conformance::{Library, MethodCase, MethodSuite, check_method, mixture_outline},
};
use serde_json::json;

#[test]
fn library_conforms() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    assert_eq!(library.info().name, "rtn");
    let case = |options| MethodCase {
        options,
        targets: vec![2.0, 2.25, 3.0, 3.5, 3.999],
        bad_targets: vec![-3.0, 0.0, 1.99, 8.0, f64::INFINITY],
    };
    let suite = MethodSuite {
        cases: vec![
            case(json!({"group_size": 32})),
            case(json!({"group_size": "row", "bits": [2, 4]})),
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
            json!([]),
        ],
    };
    check_method(&library, &suite).assert_none();
}

#[test]
fn layers_of_experts_are_units_as_all_others() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    let method = library.method(&json!({"group_size": 32})).unwrap();
    let model = mixture_outline(2, 3);
    let units = method.units(&model, None).unwrap();
    let names = |idx: usize| (units[idx].name.as_str(), model.layers[idx].name.as_str());
    assert_eq!(units.len(), 2 * (4 + 3 * 3));
    assert!((0..units.len()).all(|idx| names(idx).0 == names(idx).1));
    let of_expert = |idx: &usize| model.layers[*idx].expert_idx == Some(2);
    let of_expert: Vec<usize> = (0..units.len()).filter(of_expert).collect();
    assert_eq!(
        names(of_expert[5]).0,
        "model.layers.1.mlp.experts.2.down_proj"
    );
    for idx in of_expert {
        let replaces = |edit: &Edit| matches!(edit, Edit::Replace { layer_idx, .. } if *layer_idx as usize == idx);
        let mut edits = units[idx].levels.iter().flat_map(|level| &level.edits);
        assert!(edits.all(replaces));
    }
}
