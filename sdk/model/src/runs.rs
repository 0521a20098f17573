//! Weights of candidates side by side in one pass.
//!
//! A small model's kernels take longer to launch than to run, so on a GPU several candidates share
//! a pass: each has the rows of its sequence, and whatever all candidates have in common is one
//! kernel. Candidates of a generation differ from each other in a few layers; there, *runs* of
//! neighbouring candidates that agree go through the layer together.

use evopress_tensor::{Activation, Weight, gated};
use tch::Tensor;

use crate::error::Result;

/// The weights of some layers of a block, for each run of rows.
pub(crate) struct Runs(pub(crate) Vec<(i64, Vec<Weight>)>);

impl Runs {
    /// One set of weights for all rows.
    pub(crate) fn one(weights: Vec<Weight>) -> Self {
        Self(vec![(0, weights)])
    }

    /// The runs of some rows alone, whose numbers ascend.
    pub(crate) fn of_rows(self, rows: &[i64]) -> Self {
        if self.0.len() == 1 {
            return self;
        }
        let mut end = 0;
        let mut rest = rows;
        let runs = self.0.into_iter().filter_map(|(count, weights)| {
            end += count;
            let (of_run, others) = rest.split_at(rest.partition_point(|&row| row < end));
            rest = others;
            (!of_run.is_empty()).then_some((of_run.len() as i64, weights))
        });
        Self(runs.collect())
    }

    /// `function` of each run's weights and rows of `input`, row after row.
    pub(crate) fn map(
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

    /// `activation(gate) · up` of rows `input`, where the layers are a gate and an up projection.
    pub(crate) fn gated(
        &self,
        biases: Option<&[Tensor; 2]>,
        activation: Activation,
        input: &Tensor,
    ) -> Result<Tensor> {
        self.map(input, |weights, input| {
            let weights = [&weights[0], &weights[1]];
            Ok(gated(weights, biases, activation, input)?)
        })
    }

    /// Lets `function` add to each run's rows of `sum` what follows from its weights and rows of
    /// `input`.
    pub(crate) fn add(
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
            let mut part = before.f_narrow(0, first, rows)?.f_detach_copy()?;
            first += rows;
            function(&mut part, weights, input)?;
            Ok(part)
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_some_rows() {
        let runs = || Runs(vec![(4, vec![]), (4, vec![]), (8, vec![])]);
        let counts = |rows: &[i64]| -> Vec<i64> {
            let runs = runs().of_rows(rows).0;
            runs.into_iter().map(|(count, _)| count).collect()
        };
        assert_eq!(counts(&[0, 3, 4, 15]), [2, 1, 1]);
        assert_eq!(counts(&[1, 8, 9]), [1, 2]);
        let one = Runs::one(vec![]).of_rows(&[5, 6]);
        assert_eq!(one.0.len(), 1);
    }
}
