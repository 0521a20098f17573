//! The conformance kit finds what is wrong with plugins that do not conform.

use evopress_plugin::conformance::{
    FitnessSuite, Library, MethodCase, MethodSuite, check_fitness, check_method,
};
use serde_json::json;

#[test]
fn panics_are_found() {
    let library = Library::build("evopress-fault-panics").unwrap();
    let suite = FitnessSuite {
        options: vec![
            json!({"in": "loss"}),
            json!({"in": "target"}),
            json!({"in": "create"}),
        ],
        bad_options: vec![json!({"in": "drop"})],
    };
    insta::assert_snapshot!(check_fitness(&library, &suite).to_string().replace(library.listed().file.to_str().unwrap(), "FILE"), @r#"
- the options {"in":"drop"} are accepted
- options {"in":"loss"}: fitness `panics` panicked: the fixture panics in loss
- options {"in":"loss"}: hidden states without rows: fitness `panics` panicked: the fixture panics in loss
- options {"in":"loss"}: hidden states of another size: fitness `panics` panicked: the fixture panics in loss
- options {"in":"loss"}: hidden states with a third dimension: fitness `panics` panicked: the fixture panics in loss
- options {"in":"loss"}: fewer tokens than hidden states: fitness `panics` panicked: the fixture panics in loss
- options {"in":"loss"}: an empty target: fitness `panics` panicked: the fixture panics in loss
- options {"in":"loss"}: a target with fewer rows: fitness `panics` panicked: the fixture panics in loss
- options {"in":"loss"}: the host's message `out of device memory` is lost; what comes back is `fitness `panics` panicked: the fixture panics in loss`
- options {"in":"target"}: fitness `panics` panicked: the fixture panics in target
- the options {"in":"create"} are refused: FILE panicked while being created: the fixture panics in create
"#);
}

#[test]
fn wrong_expectations_of_a_method_are_found() {
    let library = Library::build("evopress-plugin-drop").unwrap();
    let suite = MethodSuite {
        cases: vec![MethodCase {
            options: json!({"granularity": "block"}),
            // Neither in order nor all of them possible, and one that is fine among the bad ones.
            targets: vec![0.5, 0.25, 0.75, 0.01],
            bad_targets: vec![0.5],
        }],
        bad_options: Vec::new(),
    };
    insta::assert_snapshot!(check_method(&library, &suite), @r#"
- options {"granularity":"block"}, 12 blocks, target 0.01: method `drop`: a drop of 0.01 leaves out none of 12 blocks; the smallest that does is 0.0834
- options {"granularity":"block"}, 12 blocks: the budgets of `block` go up and down: [6, 9, 3]
- options {"granularity":"block"}, 12 blocks: the target 0.5 is accepted
- options {"granularity":"block"}, 30 blocks, target 0.01: method `drop`: a drop of 0.01 leaves out none of 30 blocks; the smallest that does is 0.0334
- options {"granularity":"block"}, 30 blocks: the budgets of `block` go up and down: [15, 23, 8]
- options {"granularity":"block"}, 30 blocks: the target 0.5 is accepted
- options {"granularity":"block"}, 12 blocks with experts, target 0.01: method `drop`: a drop of 0.01 leaves out none of 12 blocks; the smallest that does is 0.0834
- options {"granularity":"block"}, 12 blocks with experts: the budgets of `block` go up and down: [6, 9, 3]
- options {"granularity":"block"}, 12 blocks with experts: the target 0.5 is accepted
"#);
}

#[test]
fn method_is_no_fitness() {
    let library = Library::build("evopress-plugin-drop").unwrap();
    insta::assert_snapshot!(
        check_fitness(&library, &FitnessSuite::default()),
        @"- the options {} are refused: the plugin `drop` is a method, not a fitness"
    );
}
