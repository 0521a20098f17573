//! The head against its definitions in f64.

use std::sync::Arc;

use evopress_source::{Source, fixtures};
use evopress_tensor::Backend;

use super::*;

const TOKENS: i64 = 150;

/// A head in `kind` with its weight, and hidden states of a dense model and of a student.
fn case(kind: Kind, cap: Option<f64>) -> (Head, Tensor, Tensor, Tensor) {
    tch::manual_seed(1);
    let random = |rows: i64| Tensor::randn([rows, 32], (Kind::Float, Device::Cpu));
    let weight = random(1100).to_kind(kind);
    let backend = (kind == Kind::BFloat16).then_some(Backend::Portable);
    let source = Arc::new(Source::open(&fixtures::folder().join("models/llama3")).unwrap());
    let head = Head::of(&source, weight.shallow_clone(), backend, cap);
    let dense = random(TOKENS);
    let student: Tensor = &dense + random(TOKENS) * 0.1;
    (head, weight, dense.to_kind(kind), student.to_kind(kind))
}

/// Logits in f64, as autograd can follow them.
fn exact(weight: &Tensor, cap: Option<f64>, hidden: &Tensor) -> Tensor {
    let weight = weight.to_kind(Kind::Double);
    let products = hidden.matmul(&weight.transpose(0, 1));
    match cap {
        Some(cap) => (products / cap).tanh() * cap,
        None => products,
    }
}

fn close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    let error = (found.to_kind(Kind::Double) - expected).abs().max();
    let error = error.double_value(&[]) / expected.abs().max().double_value(&[]);
    assert!(error < tolerance, "{what}: {error:.1e}");
}

/// Everything that a fitness may ask, against its definition in f64.
#[test]
fn plain_and_capped_heads_agree_with_their_definitions() {
    for cap in [None, Some(4.0)] {
        for kind in [Kind::Float, Kind::BFloat16] {
            check(kind, cap);
        }
    }
}

fn check(kind: Kind, cap: Option<f64>) {
    let tolerance = 2e-6;
    let (head, weight, dense, student) = case(kind, cap);
    let tokens: Vec<i64> = (0..TOKENS).map(|token| token * 7 % 1100).collect();
    let leaf = student.to_kind(Kind::Double).set_requires_grad(true);
    let p = exact(&weight, cap, &dense.to_kind(Kind::Double)).softmax(-1, Kind::Double);
    let logits = tch::with_grad(|| exact(&weight, cap, &leaf));
    let gradient = |of: &Tensor| {
        let sum = tch::with_grad(|| of.sum(Kind::Double));
        Tensor::run_backward(&[sum], &[&leaf], true, false).swap_remove(0)
    };
    let numbers = |values: Vec<f32>| Tensor::from_slice(&values);

    let log_sums = tch::with_grad(|| logits.logsumexp([-1i64].as_slice(), false));
    let found = numbers(head.log_sum_exp(&student).unwrap());
    close(&found, &log_sums, tolerance, "log-sum-exp");
    close(
        &head.logits(&student).unwrap(),
        &logits,
        tolerance,
        "logits",
    );

    let (negative_entropy, summary) = head.expectation(&dense).unwrap();
    let entropy = (&p * p.log()).sum_dim_intlist(-1i64, false, Kind::Double);
    close(&numbers(negative_entropy), &entropy, tolerance, "entropy");
    let expected = tch::with_grad(|| (&p * &logits).sum_dim_intlist(-1i64, false, Kind::Double));
    let found = numbers(head.expected_logits(&student, &summary).unwrap());
    close(&found, &expected, tolerance, "expected logits");
    let found = head.expected_gradient(&student, &summary).unwrap();
    close(&found, &gradient(&expected), tolerance, "their gradient");

    let ids = Tensor::from_slice(&tokens).view([-1, 1]);
    let of_tokens = tch::with_grad(|| logits.gather(1, &ids, false).view([-1]));
    let found = numbers(head.token_logits(&student, &tokens).unwrap());
    close(&found, &of_tokens, tolerance, "token logits");
    let found = head.token_gradients(&student, &tokens).unwrap();
    close(&found, &gradient(&of_tokens), tolerance, "their gradient");

    let uniforms = vec![0.5; TOKENS as usize];
    let (own, sampled) = head.sampled_expectation(&student, &uniforms).unwrap();
    close(
        &own,
        &gradient(&log_sums),
        tolerance,
        "gradient of log-sum-exp",
    );
    let q = logits.softmax(-1, Kind::Double).cumsum(-1, Kind::Double);
    let at = |token: usize, v: i64| q.double_value(&[token as i64, v]);
    for (token, &drawn) in sampled.iter().enumerate() {
        let before = if drawn > 0 { at(token, drawn - 1) } else { 0.0 };
        assert!(
            before < 0.5001 && at(token, drawn) > 0.4999,
            "token {token}"
        );
    }
}
