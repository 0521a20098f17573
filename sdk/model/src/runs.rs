//! Candidates side by side in one pass.
//!
//! A small model's kernels take longer to launch than to run, so on a GPU several candidates share a pass: each has a *lane*, the rows of its
//! sequence, and whatever is the same for all lanes is one kernel. Candidates of a generation differ from each other in a few layers; there,
//! *runs* of neighbouring lanes that agree go through the layer together.

use tch::Tensor;

use super::{Model, Stream};
use crate::error::Result;
use crate::genotype::Candidate;
use crate::kernels::Weight;
use crate::source::LAYERS_PER_BLOCK;

/// The weights of some layers of a block, for each run of rows.
pub(crate) struct Runs(Vec<(i64, Vec<Weight>)>);

impl Runs {
    /// The same weights for all rows.
    pub(crate) fn one(weights: &[Weight]) -> Self {
        Self(vec![(0, weights.iter().map(Weight::share).collect())])
    }

    /// `function` of each run's weights and rows of `input`, row after row.
    pub(super) fn map(
        &self,
        input: &Tensor,
        mut function: impl FnMut(&[Weight], &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if let [(_, weights)] = self.0.as_slice() {
            return function(weights, input);
        }
        let mut first = 0;
        let mut parts = Vec::with_capacity(self.0.len());
        for (rows, weights) in &self.0 {
            parts.push(function(weights, &input.f_narrow(0, first, *rows)?)?);
            first += rows;
        }
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    /// Lets `function` add to each run's rows of `sum` what follows from its weights and rows of `input`.
    pub(super) fn add(
        &self,
        sum: &mut Tensor,
        input: &Tensor,
        mut function: impl FnMut(&mut Tensor, &[Weight], &Tensor) -> Result<()>,
    ) -> Result<()> {
        if let [(_, weights)] = self.0.as_slice() {
            return function(sum, weights, input);
        }
        let mut first = 0;
        let before = sum.shallow_clone();
        *sum = self.map(input, |weights, input| {
            let rows = input.size()[0];
            let mut part = before.f_narrow(0, first, rows)?;
            first += rows;
            function(&mut part, weights, input)?;
            Ok(part)
        })?;
        Ok(())
    }
}

impl Model {
    /// Runs one block, or what the candidates leave of it. The stream's rows are divided evenly among `lanes`.
    pub(crate) fn run_block(
        &self,
        block_idx: usize,
        stream: &mut Stream,
        lanes: &[&Candidate],
    ) -> Result<()> {
        let has_attention = |lane: &Candidate| !lane.dropped.attention[block_idx];
        stream.run_where(lanes, has_attention, |stream, lanes| {
            let rows = stream.rows_of_one(lanes);
            let weights = |slots| self.weights_of(block_idx, slots, lanes, rows);
            let (qkv, output) = (weights(0..3)?, weights(3..4)?);
            self.attention(block_idx, stream, &qkv, &output, &mut |_, _| ())
        })?;
        let has_mlp = |lane: &Candidate| !lane.dropped.mlp[block_idx];
        stream.run_where(lanes, has_mlp, |stream, lanes| {
            let rows = stream.rows_of_one(lanes);
            let weights = |slots| self.weights_of(block_idx, slots, lanes, rows);
            let (gate_up, down) = (weights(4..6)?, weights(6..7)?);
            self.mlp(block_idx, stream, &gate_up, &down, &mut |_, _| ())
        })
    }

    /// The weights of some of a block's layers, for `lanes` of so many rows each.
    fn weights_of(
        &self,
        block_idx: usize,
        slots: std::ops::Range<usize>,
        lanes: &[&Candidate],
        rows: i64,
    ) -> Result<Runs> {
        let first = block_idx * LAYERS_PER_BLOCK;
        let layers = first + slots.start..first + slots.end;
        let agree =
            |a: &&Candidate, b: &&Candidate| a.weights[layers.clone()] == b.weights[layers.clone()];
        let runs = lanes.chunk_by(agree).map(|run| {
            let weights = layers.clone();
            let weights = weights.map(|idx| self.weights.get(idx, run[0].weights[idx]));
            Ok((run.len() as i64 * rows, weights.collect::<Result<_>>()?))
        });
        Ok(Runs(runs.collect::<Result<_>>()?))
    }
}

impl Stream {
    fn rows_of_one(&self, lanes: &[&Candidate]) -> i64 {
        self.residual.size()[0] / lanes.len() as i64
    }

    /// Changes the rows of the lanes that `is_run` by `function`, and leaves the others as they are.
    fn run_where(
        &mut self,
        lanes: &[&Candidate],
        is_run: impl Fn(&Candidate) -> bool,
        function: impl Fn(&mut Self, &[&Candidate]) -> Result<()>,
    ) -> Result<()> {
        if lanes.iter().all(|lane| is_run(lane)) {
            return function(self, lanes);
        }
        if !lanes.iter().any(|lane| is_run(lane)) {
            return Ok(());
        }
        let rows = self.rows_of_one(lanes);
        let mut first = 0;
        let mut parts = Vec::new();
        for run in lanes.chunk_by(|a, b| is_run(a) == is_run(b)) {
            let count = run.len() as i64 * rows;
            let mut part = Self {
                residual: self.residual.f_narrow(0, first, count)?,
                length: self.length,
            };
            if is_run(run[0]) {
                function(&mut part, run)?;
            }
            parts.push(part.residual);
            first += count;
        }
        self.residual = Tensor::f_cat(&parts, 0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genotype::Genotype;
    use crate::small_models::{LENGTH, corpus, drops, open, open_with_levels};

    /// Sequences `0, 1, …` of the candidates, together and each alone.
    fn difference(model: &Model, candidates: &[Candidate]) -> f64 {
        let corpus = corpus(model.config().vocab_size, candidates.len());
        let embedded = |indices: &[usize]| {
            let tokens: Vec<i64> = indices
                .iter()
                .flat_map(|&idx| corpus.sequence(idx).to_vec())
                .collect();
            let tokens = Tensor::from_slice(&tokens).view([-1, LENGTH as i64]);
            model.embed(&tokens.to_device(model.device())).unwrap()
        };
        let all: Vec<usize> = (0..candidates.len()).collect();
        let lanes: Vec<&Candidate> = candidates.iter().collect();
        let pass = |stream, lanes: &[&Candidate]| {
            model
                .forward_from(0, stream, lanes, &mut |_| Ok(()))
                .unwrap()
        };
        let together = pass(embedded(&all), &lanes);
        let alone = all
            .iter()
            .map(|&idx| pass(embedded(&[idx]), &lanes[idx..=idx]));
        let alone = Tensor::cat(&alone.collect::<Vec<_>>(), 0);
        (together - &alone).abs().max().double_value(&[]) / alone.abs().max().double_value(&[])
    }

    #[test]
    fn candidates_side_by_side_compute_what_each_computes_alone() {
        for fixture in ["llama3", "gqa-tied"] {
            let model = open(fixture);
            let space = drops(&model);
            // Lanes 1 and 2 agree, others differ from their neighbours in attentions, MLPs or both.
            let levels = |lane: usize| {
                let level =
                    move |unit: usize| u16::from((unit + lane.div_ceil(2)).is_multiple_of(3));
                Genotype((0..space.units().len()).map(level).collect())
            };
            let candidates: Vec<Candidate> =
                (0..6).map(|lane| space.candidate(&levels(lane))).collect();
            assert!(difference(&model, &candidates) < 1e-5, "{fixture}");

            let folder = tempfile::tempdir().unwrap();
            let (model, space) = open_with_levels(fixture, folder.path());
            let dense = model.dense();
            let levels = |lane: usize| {
                let level = move |unit: usize| u16::from(unit % 5 < lane.div_ceil(2));
                Genotype((0..space.units().len()).map(level).collect())
            };
            let leveled = (0..5).map(|lane| space.candidate(&levels(lane)));
            let candidates: Vec<Candidate> = leveled.chain([dense]).collect();
            assert!(difference(&model, &candidates) < 1e-5, "{fixture}");
        }
    }
}
