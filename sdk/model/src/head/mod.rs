//! The model's head `W [V, D]`: everything that a fitness may ask of its logits `z = W h`, without
//! logits that outlive a tile or a few tokens.
//!
//! Some models cap their logits: `z = c · tanh(W h / c)`. Then expectations of logits are not
//! linear in `h`, and what is remembered of a distribution is the hidden state that it comes from.
//!
//! On a GPU and on a CPU with bf16 units logits are bf16 products summed in f32, which is exact in
//! the products; elsewhere f32 throughout. The expectations that fitness targets are made of are in
//! f32 either way.

mod weight;

use evopress_tensor::{self as tensor, Softmax};
use tch::{Device, Kind, Tensor};

use crate::error::Result;

pub use weight::Head;

/// Tokens whose logits exist at once where logits have to exist: few stay in a CPU's cache, many
/// keep a GPU busy.
const LOGIT_TOKENS: i64 = 128;
const LOGIT_TOKENS_ON_GPU: i64 = 1024;
/// Vocabulary rows that are converted to f32 at once.
const VOCABULARY_CHUNK: i64 = 8192;
/// Vocabulary rows that `Wᵀp` sums in f32 before the sum goes on in f64: over the whole vocabulary
/// f32 would lose 1e-6 of it.
const SUM_CHUNK: i64 = 1024;

impl Head {
    /// `log Σ_v exp z_v` of `hidden [T, D]`, `[T]`.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn log_sum_exp(&self, hidden: &Tensor) -> Result<Vec<f32>> {
        if let Some(packed) = self.packed_for(hidden)? {
            return Ok(tensor::log_sum_exp(
                packed,
                &hidden.f_contiguous()?,
                self.cap,
            )?);
        }
        let mut sums = Vec::with_capacity(hidden.size()[0] as usize);
        for chunk in hidden.f_split(self.logit_tokens(), 0)? {
            let of_chunk = tensor::plain_log_sum_exp(&mut self.logits(&chunk)?)?;
            sums.extend(tensor::to_vec(&of_chunk)?);
        }
        Ok(sums)
    }

    /// All logits `[T, V]` in f32.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let mut logits = self.products(hidden)?;
        if let Some(cap) = self.cap {
            tensor::cap_logits(&mut logits, cap)?;
        }
        Ok(logits)
    }

    /// `W h [T, V]` in f32, in memory of its own.
    fn products(&self, hidden: &Tensor) -> Result<Tensor> {
        if let Some(packed) = self.packed_for(hidden)? {
            return Ok(packed.wide_product(&hidden.f_contiguous()?)?);
        }
        if let Some(plain) = self.plain()?
            && tensor::has_wide_sums(plain.kind(), hidden.device())
            && hidden.kind() == plain.kind()
        {
            return Ok(hidden.f_mm_dtype(&plain.f_transpose(0, 1)?, Kind::Float)?);
        }
        let hidden = hidden.f_to_kind(Kind::Float)?;
        let mut parts = Vec::new();
        for start in (0..self.vocab_size()).step_by(VOCABULARY_CHUNK as usize) {
            parts.push(hidden.f_matmul(&self.rows(start, VOCABULARY_CHUNK)?.f_transpose(0, 1)?)?);
        }
        Ok(Tensor::f_cat(&parts, -1)?)
    }

    /// `Σ_v p log p [T]` of `p = softmax(z)`, and what [`Self::expected_logits`] needs to know of
    /// `p`, `[T, D]` in f32: `Wᵀp`, or `hidden` where logits are capped.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn expectation(&self, hidden: &Tensor) -> Result<(Vec<f32>, Tensor)> {
        let mut negative_entropy = Vec::with_capacity(hidden.size()[0] as usize);
        if self.cap.is_some() {
            for chunk in hidden.f_split(self.logit_tokens(), 0)? {
                negative_entropy.extend(Softmax::new(self.logits(&chunk)?)?.negative_entropy);
            }
            let summary = hidden.f_to_kind(Kind::Float)?.f_detach_copy()?;
            return Ok((negative_entropy, summary));
        }
        let mut weighted = Vec::new();
        for chunk in hidden.f_split(self.logit_tokens(), 0)? {
            let softmax = Softmax::new(self.logits(&chunk)?)?;
            weighted.push(self.weighted_rows(&softmax.exponentials, &softmax.inverse_sums)?);
            negative_entropy.extend(softmax.negative_entropy);
        }
        Ok((negative_entropy, Tensor::f_cat(&weighted, 0)?))
    }

    /// `Σ_v p_v z_v` of `hidden [T, D]`, `[T]`; `summary` says what `p` is
    /// ([`Self::expectation`]).
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn expected_logits(&self, hidden: &Tensor, summary: &Tensor) -> Result<Vec<f32>> {
        if self.cap.is_none() {
            let summary = summary.f_to_kind(Kind::Float)?.f_contiguous()?;
            return Ok(tensor::row_dot(&hidden.f_contiguous()?, &summary)?);
        }
        let mut expected = Vec::with_capacity(hidden.size()[0] as usize);
        for (chunk, softmax) in self.with_distributions(hidden, summary)? {
            let softmax = softmax?;
            let products = self.logits(&chunk)?.f_mul(&softmax.exponentials)?;
            let sums = products.f_sum_dim_intlist(-1i64, true, Kind::Double)?;
            let of_chunk = sums.f_mul(&softmax.inverse_sums)?.f_view([-1])?;
            expected.extend(tensor::to_vec(&of_chunk)?);
        }
        Ok(expected)
    }

    /// `Σ_v p_v ∂z_v/∂h` at `hidden [T, D]`, `[T, D]` in f32; `summary` says what `p` is.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn expected_gradient(&self, hidden: &Tensor, summary: &Tensor) -> Result<Tensor> {
        if self.cap.is_none() {
            return Ok(summary.f_to_kind(Kind::Float)?);
        }
        let mut weighted = Vec::new();
        for (chunk, softmax) in self.with_distributions(hidden, summary)? {
            let softmax = softmax?;
            let terms = match self.slopes(&self.logits(&chunk)?)? {
                Some(slopes) => slopes.f_mul(&softmax.exponentials)?,
                None => softmax.exponentials,
            };
            weighted.push(self.weighted_rows(&terms, &softmax.inverse_sums)?);
        }
        Ok(Tensor::f_cat(&weighted, 0)?)
    }

    /// `Σ_v p_v ∂z_v/∂h [T, D]` of `p = softmax(z)` itself, the gradient of its log-sum-exp, and S
    /// tokens drawn from each `p`, `[T, S]`: the first whose cumulative probability exceeds a
    /// number in `uniforms` (`[T, S]`, in 0..1).
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn sampled_expectation(
        &self,
        hidden: &Tensor,
        uniforms: &[f32],
    ) -> Result<(Tensor, Vec<i64>)> {
        let mut tokens = Vec::with_capacity(uniforms.len());
        let num_samples = uniforms.len() / hidden.size()[0] as usize;
        let mut weighted = Vec::new();
        let mut first = 0;
        for chunk in hidden.f_split(self.logit_tokens(), 0)? {
            let logits = self.logits(&chunk)?;
            let slopes = self.slopes(&logits)?;
            let softmax = Softmax::new(logits)?;
            let num_tokens = chunk.size()[0] as usize;
            let uniforms = &uniforms[first * num_samples..][..num_tokens * num_samples];
            tokens.extend(sample(&softmax.exponentials, uniforms, num_samples)?);
            first += num_tokens;
            let terms = match slopes {
                Some(slopes) => slopes.f_mul(&softmax.exponentials)?,
                None => softmax.exponentials,
            };
            weighted.push(self.weighted_rows(&terms, &softmax.inverse_sums)?);
        }
        Ok((Tensor::f_cat(&weighted, 0)?, tokens))
    }

    /// Hidden states `[T, D]` in chunks, each with the distributions that hidden states `of` have.
    fn with_distributions<'a>(
        &'a self,
        hidden: &Tensor,
        of: &Tensor,
    ) -> Result<impl Iterator<Item = (Tensor, Result<Softmax>)> + 'a> {
        let hidden = hidden.f_split(self.logit_tokens(), 0)?.into_iter();
        let of = of.f_split(self.logit_tokens(), 0)?.into_iter();
        Ok(hidden.zip(of).map(|(hidden, of)| {
            let distribution = || -> Result<Softmax> {
                let of = of.f_to_kind(hidden.kind())?;
                Ok(Softmax::new(self.logits(&of)?)?)
            };
            let distribution = distribution();
            (hidden, distribution)
        }))
    }

    /// `∂z_v/∂(W h)_v` of logits `[T, V]`; none where it is 1.
    fn slopes(&self, logits: &Tensor) -> Result<Option<Tensor>> {
        let Some(cap) = self.cap else {
            return Ok(None);
        };
        let squares = logits.f_mul_scalar(1.0 / cap)?.f_square()?;
        Ok(Some(squares.f_neg()?.f_add_scalar(1.0)?))
    }

    /// `Σ_v terms_v W[v] · factor [T, D]` in f32, summed in f64; `terms` is `[T, V]`, `factors`
    /// `[T, 1]`.
    fn weighted_rows(&self, terms: &Tensor, factors: &Tensor) -> Result<Tensor> {
        let size = [terms.size()[0], self.width()];
        let mut sum = Tensor::f_zeros(size, (Kind::Double, terms.device()))?;
        for start in (0..self.vocab_size()).step_by(SUM_CHUNK as usize) {
            let rows = self.rows(start, SUM_CHUNK)?;
            let part = terms.f_narrow(1, start, rows.size()[0])?.f_matmul(&rows)?;
            let _ = sum.f_add_(&part)?;
        }
        Ok(sum.f_mul(factors)?.f_to_kind(Kind::Float)?)
    }

    /// `z_v` of `v = token_t`, 0 where the token is −1.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn token_logits(&self, hidden: &Tensor, tokens: &[i64]) -> Result<Vec<f32>> {
        let ids: Vec<i64> = tokens.iter().map(|&token| token.max(0)).collect();
        let rows = self.token_rows(&ids)?;
        let mut logits = tensor::row_dot(&hidden.f_contiguous()?, &rows)?;
        for (logit, &token) in logits.iter_mut().zip(tokens) {
            if token < 0 {
                *logit = 0.0;
            } else if let Some(cap) = self.cap {
                *logit = (cap * (f64::from(*logit) / cap).tanh()) as f32;
            }
        }
        Ok(logits)
    }

    /// `∂z_v/∂h` of `v = token_t` at `hidden [T, D]`, `[T, D]` in f32.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn token_gradients(&self, hidden: &Tensor, tokens: &[i64]) -> Result<Tensor> {
        let rows = self.token_rows(tokens)?;
        if self.cap.is_none() {
            return Ok(rows);
        }
        let logits = Tensor::f_from_slice(&self.token_logits(hidden, tokens)?)?;
        let logits = logits.f_to_device(rows.device())?.f_view([-1, 1])?;
        match self.slopes(&logits)? {
            Some(slopes) => Ok(rows.f_mul(&slopes)?),
            None => Ok(rows),
        }
    }

    fn logit_tokens(&self) -> i64 {
        match self.device().is_cuda() {
            true => LOGIT_TOKENS_ON_GPU,
            false => LOGIT_TOKENS,
        }
    }
}

/// S tokens of each row of `exponentials [T, V]`, the first whose share of the row's sum exceeds a
/// number in `uniforms [T, S]`.
fn sample(exponentials: &Tensor, uniforms: &[f32], num_samples: usize) -> Result<Vec<i64>> {
    let sums = exponentials.f_cumsum(-1, Kind::Float)?;
    let uniforms = Tensor::f_from_slice(uniforms)?
        .f_to_device(sums.device())?
        .f_view([-1, num_samples as i64])?;
    let wanted = uniforms.f_mul(&sums.f_narrow(-1, sums.size()[1] - 1, 1)?)?;
    let found = wanted.f_searchsorted(&sums, false, true, "right", None::<&Tensor>)?;
    let found = found.f_clamp(0, sums.size()[1] - 1)?.f_view([-1])?;
    Ok(Vec::<i64>::try_from(&found.f_to_device(Device::Cpu)?)?)
}

#[cfg(test)]
mod tests;
