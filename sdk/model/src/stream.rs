//! Hidden states between blocks.

use evopress_search::genotype::Candidate;
use tch::Tensor;

use crate::error::Result;

/// The residual stream `[T, D]` in f32 of some sequences of one length. It is f32 whatever the
/// dtype of the weights, so that sixty additions in a row do not each round.
#[derive(Debug)]
pub struct Stream {
    pub(crate) residual: Tensor,
    /// Tokens of a sequence.
    pub(crate) length: i64,
}

impl Stream {
    /// The stream of one sequence, `[L, D]` in f32. Blocks change it in place where nobody else
    /// holds its memory.
    pub fn of_sequence(residual: Tensor) -> Self {
        Self {
            length: residual.size()[0],
            residual,
        }
    }

    /// The residual stream.
    pub fn residual(&self) -> &Tensor {
        &self.residual
    }

    /// A copy of the residual stream in memory of its own.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn snapshot(&self) -> Result<Tensor> {
        Ok(self.residual.f_detach_copy()?)
    }

    /// Rows of one candidate, where they are divided evenly among `candidates`.
    pub(crate) fn rows_of_one(&self, candidates: &[&Candidate]) -> i64 {
        self.residual.size()[0] / candidates.len() as i64
    }

    /// Changes the rows of the candidates that `is_run` by `function`, and leaves the others as
    /// they are.
    pub(crate) fn run_where(
        &mut self,
        candidates: &[&Candidate],
        is_run: impl Fn(&Candidate) -> bool,
        function: impl Fn(&mut Self, &[&Candidate]) -> Result<()>,
    ) -> Result<()> {
        if candidates.iter().all(|candidate| is_run(candidate)) {
            return function(self, candidates);
        }
        if !candidates.iter().any(|candidate| is_run(candidate)) {
            return Ok(());
        }
        let rows = self.rows_of_one(candidates);
        let mut first = 0;
        let mut parts = Vec::new();
        for run in candidates.chunk_by(|a, b| is_run(a) == is_run(b)) {
            let count = run.len() as i64 * rows;
            let part = self.residual.f_narrow(0, first, count)?;
            first += count;
            if !is_run(run[0]) {
                parts.push(part);
                continue;
            }
            let mut part = Self {
                residual: part.f_detach_copy()?,
                length: self.length,
            };
            function(&mut part, run)?;
            parts.push(part.residual);
        }
        self.residual = Tensor::f_cat(&parts, 0)?;
        Ok(())
    }
}
