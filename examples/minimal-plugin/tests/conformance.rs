//! Builds the library, loads it as evopressd does, and checks it against the rules for fitnesses.

use evopress_plugin::{
    Chunk, TensorView,
    conformance::{FitnessSuite, Library, ReferenceHead, check_fitness},
};
use serde_json::json;

#[test]
fn library_conforms() {
    let library = Library::build(env!("CARGO_PKG_NAME")).unwrap();
    let suite = FitnessSuite {
        options: vec![json!({}), json!({"tolerance": 0.1})],
        bad_options: vec![json!({"tolerance": -1}), json!({"tolerance": "low"})],
    };
    check_fitness(&library, &suite).assert_none();
}

#[test]
fn only_more_surprise_than_the_dense_model_costs() {
    // Two tokens; logits are the hidden state itself.
    let head = ReferenceHead::new(vec![1.0, 0.0, 0.0, 1.0], 2, 2);
    // The student is sure of token 0 where the dense model is not sure of anything.
    let (dense, student) = ([0.0_f32, 0.0, 0.0, 0.0], [3.0_f32, 0.0, 3.0, 0.0]);
    let chunk = |hidden| Chunk {
        hidden: TensorView::from_slice(hidden, &[2, 2]).unwrap(),
        next_tokens: &[0, 1],
    };
    let losses = |options| {
        let regret = Library::build(env!("CARGO_PKG_NAME"))
            .unwrap()
            .fitness(&options)
            .unwrap();
        let target = regret.target(&head, &chunk(&dense)).unwrap();
        regret
            .loss(&head, &chunk(&student), &target.view())
            .unwrap()
    };
    // The second token is token 1: its probability falls from 1/2 to 1 / (1 + e³).
    let expected = (1.0 + 3_f32.exp()).ln() - 2_f32.ln();
    assert_eq!(losses(json!({}))[0], 0.0);
    assert!((losses(json!({}))[1] - expected).abs() < 1e-5);
    assert!((losses(json!({"tolerance": 0.5}))[1] - (expected - 0.5)).abs() < 1e-5);
}
