//! What a call across the boundary costs: `perplexity` as a shared library against the same
//! arithmetic called directly, on a host whose operations are free, for 512 tokens.
// Criterion's macros make functions without documentation.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use evopress_plugin::{
    Chunk, Expectation, HeadOps, OwnedTensor, PluginError, TargetView, TensorView,
    conformance::Library,
};
use serde_json::json;

const NUM_TOKENS: usize = 512;
const HIDDEN_SIZE: usize = 576;

/// A host that copies numbers it has.
struct FreeHead {
    numbers: Vec<f32>,
}

impl HeadOps for FreeHead {
    fn log_sum_exp(&self, _: &TensorView<'_>) -> Result<Vec<f32>, PluginError> {
        Ok(self.numbers.clone())
    }

    fn expectation(&self, _: &TensorView<'_>) -> Result<Expectation, PluginError> {
        Err("not used".into())
    }

    fn expected_logits(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        Ok(self.numbers.clone())
    }

    fn expected_gradient(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        Err("not used".into())
    }

    fn token_logits(&self, _: &TensorView<'_>, _: &[i64]) -> Result<Vec<f32>, PluginError> {
        Ok(self.numbers.clone())
    }

    fn logits(&self, _: &TensorView<'_>) -> Result<OwnedTensor, PluginError> {
        Err("not used".into())
    }

    fn difference(
        &self,
        _: &TensorView<'_>,
        _: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        Err("not used".into())
    }

    fn token_gradients(&self, _: &TensorView<'_>, _: &[i64]) -> Result<OwnedTensor, PluginError> {
        Err("not used".into())
    }
}

fn boundary(criterion: &mut Criterion) {
    let fitness = Library::build("evopress-plugin-perplexity")
        .and_then(|library| Ok(library.fitness(&json!({}))?))
        .expect("the plugin builds and loads");
    let head = FreeHead {
        numbers: vec![1.0; NUM_TOKENS],
    };
    let hidden = vec![0.5_f32; NUM_TOKENS * HIDDEN_SIZE];
    let hidden = TensorView::from_slice(&hidden, &[NUM_TOKENS as i64, HIDDEN_SIZE as i64]);
    let chunk = Chunk {
        hidden: hidden.expect("the shape fits"),
        next_tokens: &[1; NUM_TOKENS],
    };
    criterion.bench_function("loss of 512 tokens through the plugin", |bencher| {
        bencher.iter(|| fitness.loss(&head, black_box(&chunk), &TargetView::default()));
    });
    criterion.bench_function("loss of 512 tokens called directly", |bencher| {
        bencher.iter(|| -> Result<Vec<f32>, PluginError> {
            let chunk = black_box(&chunk);
            let log_sum_exps = head.log_sum_exp(&chunk.hidden)?;
            let logits = head.token_logits(&chunk.hidden, chunk.next_tokens)?;
            Ok(log_sum_exps
                .iter()
                .zip(&logits)
                .map(|(log_sum_exp, logit)| log_sum_exp - logit)
                .collect())
        });
    });
}

criterion_group!(benches, boundary);
criterion_main!(benches);
