//! The model's head `W [V, D]`: everything that a fitness may ask of it, without logits that
//! outlive a tile or a few tokens.
//!
//! On a GPU and on a CPU with bf16 units logits are bf16 products summed in f32, which is exact in
//! the products; elsewhere f32 throughout. The expectations that fitness targets are made of are in
//! f32 either way.

use evopress_plugin::{Expectation, HeadOps, OwnedTensor, PluginError, TensorView};
use evopress_plugin_tch::with_tensor;
use evopress_tensor::{self as tensor, PackedWeight, Softmax};
use tch::{Kind, Tensor};

use crate::error::{ModelError, Result};
use crate::model::Model;

/// Tokens whose logits exist at once where logits have to exist: few stay in a CPU's cache, many
/// keep a GPU busy.
const LOGIT_TOKENS: i64 = 128;
const LOGIT_TOKENS_ON_GPU: i64 = 1024;
/// Vocabulary rows that are converted to f32 at once.
const VOCABULARY_CHUNK: i64 = 8192;
/// Vocabulary rows that `Wᵀp` sums in f32 before the sum goes on in f64: over the whole vocabulary
/// f32 would lose 1e-6 of it.
const SUM_CHUNK: i64 = 1024;

/// The head on its device; sharing is cheap.
pub struct Head {
    weight: Tensor,
    packed: Option<PackedWeight>,
}

impl Head {
    /// Takes the head of `model`, packed where the CPU has units for that.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(model: &Model) -> Result<Self> {
        let weight = model.head().shallow_clone();
        let packed = PackedWeight::where_faster(&weight)?;
        Ok(Self { weight, packed })
    }

    /// Another handle to the same head, for another thread.
    pub fn share(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            packed: self.packed.as_ref().map(PackedWeight::share),
        }
    }

    /// `log Σ_v exp ⟨h_t, W_v⟩` of `hidden [T, D]`, `[T]`.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn log_sum_exp(&self, hidden: &Tensor) -> Result<Vec<f32>> {
        if let (Some(packed), Kind::BFloat16) = (&self.packed, hidden.kind()) {
            return Ok(tensor::log_sum_exp(packed, &hidden.f_contiguous()?)?);
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
        let vocab_size = self.weight.size()[0];
        if let (Some(packed), Kind::BFloat16) = (&self.packed, hidden.kind()) {
            return Ok(packed.wide_product(&hidden.f_contiguous()?)?);
        }
        if tensor::has_wide_sums(self.weight.kind(), hidden.device())
            && hidden.kind() == self.weight.kind()
        {
            return Ok(hidden.f_mm_dtype(&self.weight.f_transpose(0, 1)?, Kind::Float)?);
        }
        let hidden = hidden.f_to_kind(Kind::Float)?;
        let mut parts = Vec::new();
        for start in (0..vocab_size).step_by(VOCABULARY_CHUNK as usize) {
            parts.push(hidden.f_matmul(&self.rows(start, VOCABULARY_CHUNK)?.f_transpose(0, 1)?)?);
        }
        Ok(Tensor::f_cat(&parts, -1)?)
    }

    /// `Σ_v p log p [T]` and `Wᵀp [T, D]` of `p = softmax(W h)`.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn expectation(&self, hidden: &Tensor) -> Result<(Vec<f32>, Tensor)> {
        self.expectation_seeing(hidden, |_, _| Ok(()))
    }

    /// `Wᵀp [T, D]` and S tokens drawn from each `p = softmax(W h)`, `[T, S]`: the first whose
    /// cumulative probability exceeds a number in `uniforms` (`[T, S]`, in 0..1).
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
        let (_, weighted) = self.expectation_seeing(hidden, |first, exponentials| {
            let sums = exponentials.f_cumsum(-1, Kind::Float)?;
            let num_tokens = sums.size()[0] as usize;
            let uniforms = &uniforms[first * num_samples..][..num_tokens * num_samples];
            let uniforms = Tensor::f_from_slice(uniforms)?
                .f_to_device(sums.device())?
                .f_view([-1, num_samples as i64])?;
            let wanted = uniforms.f_mul(&sums.f_narrow(-1, sums.size()[1] - 1, 1)?)?;
            let found = wanted.f_searchsorted(&sums, false, true, "right", None::<&Tensor>)?;
            let found = found.f_clamp(0, sums.size()[1] - 1)?.f_view([-1])?;
            let found = found.f_to_device(tch::Device::Cpu)?;
            tokens.extend(Vec::<i64>::try_from(&found)?);
            Ok(())
        })?;
        Ok((weighted, tokens))
    }

    /// [`Self::expectation`]; `see` gets the first token of each chunk and its `exp(W h − max)
    /// [tokens, V]`.
    fn expectation_seeing(
        &self,
        hidden: &Tensor,
        mut see: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<(Vec<f32>, Tensor)> {
        let num_tokens = hidden.size()[0];
        let mut negative_entropy = Vec::with_capacity(num_tokens as usize);
        let mut weighted = Vec::new();
        let mut first = 0;
        for chunk in hidden.f_split(self.logit_tokens(), 0)? {
            let softmax = Softmax::new(self.logits(&chunk)?)?;
            see(first, &softmax.exponentials)?;
            first += chunk.size()[0] as usize;
            negative_entropy.extend(softmax.negative_entropy);
            let mut sum = Tensor::f_zeros(
                [chunk.size()[0], hidden.size()[1]],
                (Kind::Double, hidden.device()),
            )?;
            for start in (0..self.weight.size()[0]).step_by(SUM_CHUNK as usize) {
                let rows = self.rows(start, SUM_CHUNK)?;
                let part = softmax
                    .exponentials
                    .f_narrow(1, start, rows.size()[0])?
                    .f_matmul(&rows)?;
                let _ = sum.f_add_(&part)?;
            }
            weighted.push(sum.f_mul(&softmax.inverse_sums)?.f_to_kind(Kind::Float)?);
        }
        Ok((negative_entropy, Tensor::f_cat(&weighted, 0)?))
    }

    /// `⟨h_t, W[token_t]⟩`, 0 where the token is −1.
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
            }
        }
        Ok(logits)
    }

    /// `W[token_t]`, `[T, D]` in f32.
    ///
    /// # Errors
    /// When libtorch refuses an operation.
    pub fn token_rows(&self, tokens: &[i64]) -> Result<Tensor> {
        let ids = Tensor::f_from_slice(tokens)?.f_to_device(self.weight.device())?;
        let rows = self.weight.f_index_select(0, &ids)?;
        Ok(rows.f_to_kind(Kind::Float)?)
    }

    fn logit_tokens(&self) -> i64 {
        match self.weight.device().is_cuda() {
            true => LOGIT_TOKENS_ON_GPU,
            false => LOGIT_TOKENS,
        }
    }

    /// At most `count` rows of the head in f32.
    fn rows(&self, start: i64, count: i64) -> Result<Tensor> {
        let count = count.min(self.weight.size()[0] - start);
        Ok(self
            .weight
            .f_narrow(0, start, count)?
            .f_to_kind(Kind::Float)?)
    }
}

impl HeadOps for Head {
    fn log_sum_exp(&self, hidden: &TensorView<'_>) -> Result<Vec<f32>, PluginError> {
        self.with_hidden(hidden, |hidden| {
            self.log_sum_exp(hidden).map_err(to_plugin_error)
        })
    }

    fn expectation(&self, hidden: &TensorView<'_>) -> Result<Expectation, PluginError> {
        let (negative_entropy, weighted_head) = self.with_hidden(hidden, |hidden| {
            self.expectation(hidden).map_err(to_plugin_error)
        })?;
        Ok(Expectation {
            negative_entropy,
            weighted_head: evopress_plugin_tch::into_owned(weighted_head)?,
        })
    }

    fn row_dot(&self, a: &TensorView<'_>, b: &TensorView<'_>) -> Result<Vec<f32>, PluginError> {
        if a.shape() != b.shape() || a.shape().len() != 2 {
            return Err(PluginError::new(format!(
                "row_dot of {:?} and {:?}: expected two equal [T, D]",
                a.shape(),
                b.shape()
            )));
        }
        let dot = |a: &Tensor, b: &Tensor| -> Result<Vec<f32>> {
            let b = b.f_to_kind(Kind::Float)?.f_contiguous()?;
            Ok(tensor::row_dot(&a.f_contiguous()?, &b)?)
        };
        with_tensor(a, |a| with_tensor(b, |b| dot(a, b)))??.map_err(to_plugin_error)
    }

    fn token_logits(
        &self,
        hidden: &TensorView<'_>,
        tokens: &[i64],
    ) -> Result<Vec<f32>, PluginError> {
        self.with_hidden(hidden, |hidden| {
            if hidden.size()[0] != tokens.len() as i64 {
                return Err(PluginError::new(format!(
                    "{} tokens for hidden states {:?}",
                    tokens.len(),
                    hidden.size()
                )));
            }
            self.check_tokens(tokens, -1)?;
            self.token_logits(hidden, tokens).map_err(to_plugin_error)
        })
    }

    fn logits(&self, hidden: &TensorView<'_>) -> Result<OwnedTensor, PluginError> {
        let logits = self.with_hidden(hidden, |hidden| {
            self.logits(hidden).map_err(to_plugin_error)
        })?;
        evopress_plugin_tch::into_owned(logits)
    }

    fn difference(
        &self,
        a: &TensorView<'_>,
        b: &TensorView<'_>,
    ) -> Result<OwnedTensor, PluginError> {
        if a.shape() != b.shape() {
            return Err(PluginError::new(format!(
                "difference of {:?} and {:?}: expected two equal shapes",
                a.shape(),
                b.shape()
            )));
        }
        let difference = |a: &Tensor, b: &Tensor| -> Result<Tensor> {
            Ok(a.f_to_kind(Kind::Float)?
                .f_sub(&b.f_to_kind(Kind::Float)?)?)
        };
        let difference = with_tensor(a, |a| with_tensor(b, |b| difference(a, b)))??;
        evopress_plugin_tch::into_owned(difference.map_err(to_plugin_error)?)
    }

    fn token_rows(&self, tokens: &[i64]) -> Result<OwnedTensor, PluginError> {
        self.check_tokens(tokens, 0)?;
        evopress_plugin_tch::into_owned(self.token_rows(tokens).map_err(to_plugin_error)?)
    }
}

impl Head {
    fn check_tokens(&self, tokens: &[i64], least: i64) -> Result<(), PluginError> {
        let vocab_size = self.weight.size()[0];
        let is_known = |token: &&i64| (least..vocab_size).contains(*token);
        match tokens.iter().find(|token| !is_known(token)) {
            None => Ok(()),
            Some(token) => Err(PluginError::new(format!(
                "token {token} is not in the vocabulary of {vocab_size}"
            ))),
        }
    }

    /// Hidden states `[T, D]` as a tensor, for `work`.
    fn with_hidden<R>(
        &self,
        view: &TensorView<'_>,
        work: impl FnOnce(&Tensor) -> Result<R, PluginError>,
    ) -> Result<R, PluginError> {
        let width = self.weight.size()[1];
        match view.shape() {
            [_, found] if *found == width => with_tensor(view, work)?,
            found => Err(PluginError::new(format!(
                "hidden states are {found:?}, expected [T, {width}]"
            ))),
        }
    }
}

// Taken by value so that it can be handed to `map_err`.
#[expect(clippy::needless_pass_by_value)]
fn to_plugin_error(error: ModelError) -> PluginError {
    PluginError::new(error.to_string())
}
