//! What the routers of the dense model do: how many tokens go to each expert, and how much the
//! expert counts for them.
//!
//! The saliency of an expert is REAP's (Lasby et al. 2025): the mean over the tokens that go to it
//! of the router's probability times the norm of the expert's output, `mean_t g_e(x_t) ‖f_e(x_t)‖`.

use std::sync::Arc;

use evopress_model::{Context, Engine, ExpertOutput, Items, Observed, Stream, Walk};
use evopress_search::genotype::Candidate;
use evopress_source::Corpus;
use evopress_tensor::to_vec;
use tch::{Kind, Tensor};

use crate::error::{EvaluateError, Result};
use crate::passes::stream_bytes;

/// What a router does with an expert on calibration text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ExpertUse {
    /// The block.
    pub block_idx: usize,
    /// The expert, counted from 0 within its block.
    pub expert: u32,
    /// Tokens that go to it.
    pub tokens: u64,
    /// Mean over these tokens of what its output is multiplied with; 0 without tokens.
    pub mean_gate: f64,
    /// Mean over these tokens of that factor times the norm of the output; 0 without tokens.
    pub saliency: f64,
}

/// Of every expert of the dense model, by block and number, over some sequences.
pub(crate) fn measure(
    engine: &Engine,
    corpus: &Arc<Corpus>,
    sequence_idxs: Vec<usize>,
) -> Result<Vec<ExpertUse>> {
    let spec = engine.spec();
    let counts: Vec<u32> = spec
        .blocks
        .iter()
        .map(|block| block.experts().map_or(0, |experts| experts.num_experts))
        .collect();
    if counts.iter().all(|&count| count == 0) {
        return Ok(Vec::new());
    }
    let candidates = vec![Arc::new(engine.dense().clone())];
    let walk = Routing {
        corpus: Arc::clone(corpus),
        candidates: candidates.clone(),
        counts: counts.clone(),
    };
    let items = Items {
        items: sequence_idxs,
        candidates,
        state_bytes: stream_bytes(engine, corpus.sequence_length()),
        at_once: usize::MAX,
    };
    let measured = engine.walk(walk, items, |_| ())?;
    let mut all = Vec::new();
    for (block_idx, &count) in counts.iter().enumerate() {
        for expert in 0..count {
            let of_expert = measured.iter().map(|it| it[block_idx][expert as usize]);
            let sums = of_expert.fold(Sums::default(), Sums::and);
            let tokens = (sums.tokens as f64).max(1.0);
            all.push(ExpertUse {
                block_idx,
                expert,
                tokens: sums.tokens,
                mean_gate: sums.gates / tokens,
                saliency: sums.norms / tokens,
            });
        }
    }
    Ok(all)
}

/// Sequences of the dense model, with the sums of what its routers do.
struct Routing {
    corpus: Arc<Corpus>,
    /// The dense model.
    candidates: Vec<Arc<Candidate>>,
    /// Experts of each block.
    counts: Vec<u32>,
}

impl Walk for Routing {
    type Item = usize;
    /// By block and expert.
    type State = (Stream, Vec<Vec<Sums>>);
    type Output = Vec<Vec<Sums>>;
    type Error = EvaluateError;

    fn begin(&self, context: &mut Context, sequence_idx: usize) -> Result<Self::State> {
        let sums = self.counts.iter();
        let sums = sums.map(|&count| vec![Sums::default(); count as usize]);
        let stream = context.embed(&[self.corpus.sequence(sequence_idx)])?;
        Ok((stream, sums.collect()))
    }

    fn candidates<'a>(&'a self, _: &'a Self::State, _: usize) -> &'a [Arc<Candidate>] {
        &self.candidates
    }

    fn run_block(
        &self,
        context: &mut Context,
        (stream, sums): &mut Self::State,
        block_idx: usize,
    ) -> Result<()> {
        let mut failed = None;
        let mut observe = |observed: Observed<'_>| {
            if let Observed::Output(output) = observed
                && let Err(error) = sums[block_idx][output.expert as usize].add(&output)
            {
                failed = Some(error);
            }
        };
        let dense = &self.candidates[0];
        let model = &context.model;
        model.observe_block(block_idx, stream, dense, &mut observe)?;
        failed.map_or(Ok(()), Err)
    }

    fn finish(&self, _: &mut Context, (_, sums): Self::State) -> Result<Vec<Vec<Sums>>> {
        Ok(sums)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    tokens: u64,
    gates: f64,
    norms: f64,
}

impl Sums {
    fn add(&mut self, output: &ExpertOutput<'_>) -> Result<()> {
        let norms: Tensor = output.values.f_to_kind(Kind::Float)?;
        let norms = to_vec(&norms.f_norm_scalaropt_dim(2.0, -1i64, false)?)?;
        self.tokens += norms.len() as u64;
        for (&gate, norm) in output.gates.iter().zip(norms) {
            self.gates += f64::from(gate);
            self.norms += f64::from(gate) * f64::from(norm);
        }
        Ok(())
    }

    fn and(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            gates: self.gates + other.gates,
            norms: self.norms + other.norms,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::small_models::{LENGTH, corpus, open};

    #[test]
    fn tokens_and_probabilities_add_up() {
        let of = |fixture: &str, num_threads: usize| {
            let model = open(fixture);
            let corpus = corpus(model.spec().vocab_size, 3);
            let engine = Engine::new(model, num_threads, LENGTH, Arc::new(AtomicBool::new(false)));
            measure(&engine.unwrap(), &corpus, vec![0, 1, 2]).unwrap()
        };
        assert_eq!(of("llama3", 1), [], "a dense model");
        // The first block is dense; two of six experts of the second one take each token.
        let found = of("qwen2-moe", 1);
        assert_eq!(found.len(), 6);
        assert!(found.iter().all(|it| it.block_idx == 1));
        let tokens: u64 = found.iter().map(|it| it.tokens).sum();
        assert_eq!(tokens, 2 * 3 * LENGTH as u64);
        // Renormalised probabilities of a token sum to 1.
        let found = of("granitemoe", 1);
        let gates = |block_idx: usize| {
            let of_block = found.iter().filter(|it| it.block_idx == block_idx);
            of_block
                .map(|it| it.tokens as f64 * it.mean_gate)
                .sum::<f64>()
        };
        for block_idx in 0..2 {
            assert!((gates(block_idx) - 3.0 * LENGTH as f64).abs() < 1e-3);
        }
        assert!(found.iter().all(|it| it.tokens == 0 || it.saliency > 0.0));
        assert_eq!(of("granitemoe", 2), found, "whatever the number of threads");
    }
}
